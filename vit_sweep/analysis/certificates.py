"""Which runs may stand in one comparison of engines: those whose engine trains what one process does. Pure.

A certificate speaks for runs of equal engine, model, precision, optimizer, ranks, machine and versions, whatever their
batch or data: a repeat or another batch of a certified cell needs none of its own. Nor does another schedule of the
engine's exchange, and runs that differ in nothing else of their engine may be compared without one.
"""

from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

from vit_sweep.plan.engine.kinds import SCHEDULE
from vit_sweep.record.record import Certificate
from vit_sweep.runs.run import Run, within

NO_CERTIFICATE = "no certificate"
"""Of runs that nobody asked for one: older ones, imported ones."""
_SCHEDULE = frozenset(f"engine.{name}" for name in SCHEDULE)
_OF_THE_STEP = ("activation_checkpointing", "sequence", "sequence_method", "attention", "task")
_GROUPS = frozenset({"engine", "model", "precision", "optimizer", "partition", "gpu_model", *_OF_THE_STEP})


class Standing(NamedTuple):
    """Whether a row may be compared with other engines, and the words for its certificate."""

    certified: bool
    text: str


class Certificates:
    """The certificates of a table's runs."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self._runs: dict[Hashable, list[tuple[Run, Certificate]]] = {}
        for run in runs:
            if run.certificate is not None:
                self._runs.setdefault(_key(run), []).append((run, run.certificate))

    def standing(self, runs: Sequence[Run]) -> Standing:
        """Of a row that pools `runs`, at least one: that of its worst."""
        return min(self._standing(run) for run in runs)

    def _standing(self, run: Run) -> Standing:
        kin = self._runs.get(_key(run), [])
        own = [certificate for other, certificate in kin if other.software == run.software]
        if own:
            return max((_words(certificate) for certificate in own), key=lambda standing: not standing.certified)
        if kin:
            return Standing(False, f"certificate of another version: {_unlike(kin[-1][0], run)}")
        return Standing(False, NO_CERTIFICATE)

    def uncertified(self, pairs: Iterable[tuple[Sequence[Run], Sequence[Run]]]) -> int:
        """How many of these comparisons are between engines that are not both certified."""
        return sum(
            algorithm(a[0]) != algorithm(b[0]) and not (self.standing(a).certified and self.standing(b).certified)
            for a, b in pairs
        )


def algorithm(run: Run) -> Hashable:
    """What the run's engine computes: all that is said of it but the schedule of its exchange."""
    return _unscheduled(within(run.conditions, ("engine",)))


def _key(run: Run) -> Hashable:
    return run.gpus, _unscheduled(within(run.conditions, _GROUPS))


def _unscheduled(conditions: tuple[tuple[str, str], ...]) -> Hashable:
    return tuple((name, value) for name, value in conditions if name not in _SCHEDULE)


def _words(certificate: Certificate) -> Standing:
    difference, masked = certificate.difference, f", {certificate.masked} left out" if certificate.masked else ""
    if certificate.holds:
        near = "within rounding" if certificate.absolute else "exact"
        return Standing(True, (near if difference == 0 else f"within {difference:.1e}") + masked)
    if certificate.instead:
        return Standing(False, f"fails: {certificate.instead} ran")
    size = "is no number" if difference is None else f"differs by {difference:.1e}"
    return Standing(False, f"fails: {certificate.parameter} {size}, allowed is {certificate.tolerance:g}")


def _unlike(certified: Run, run: Run) -> str:
    certified_software, software = dict(certified.software), dict(run.software)
    return ", ".join(
        f"{name} {certified_software.get(name, '?')}, not {software.get(name, '?')}"
        for name in sorted(certified_software.keys() | software.keys())
        if certified_software.get(name) != software.get(name)
    )
