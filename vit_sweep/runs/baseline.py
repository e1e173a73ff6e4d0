"""A baseline that lies in its user's repository: what `gate` needs of a study's runs, in a small JSON file. An edge.

Two writings of the same runs are the same bytes, so a renewed baseline differs where something was measured: cells are
sorted, what all of them share is said once, and nothing depends on when or where it was written.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Literal

from launchers.atomic import read, write
from launchers.checked import Gt, Instant, Line, Quantity, Whole, checked, parse_json, to_plain
from launchers.errors import UserError
from launchers.profile import Count
from launchers.text import grouped, indented
from vit_sweep import __version__
from vit_sweep.outcome.result import Status
from vit_sweep.record.flags import CONTENDED_HOST
from vit_sweep.record.machine import Fingerprint, hardware_words
from vit_sweep.runs.run import Origin, Run
from vit_sweep.runs.sources import Source
from vit_sweep.study.code.provenance import git_commit

SCHEMA_VERSION = 1
KIND: Literal["vit_sweep baseline"] = "vit_sweep baseline"
MOST_BYTES = 64 * 2**20
_SHARED_FIELDS = ("nodes", "micro_batch", "accum", "sequence", "work", "images")


@checked
class BaselineRun:
    """One run of a cell."""

    seed: Whole | None = None
    epoch_s: Annotated[Quantity, Gt(0)] | None = None
    """Its median epoch; None where it has no time."""
    started_at: Instant = ""
    """Runs without a long pause between them are of one session (docs/results/series.md)."""
    job_s: Quantity | None = None
    oversubscribed: bool = False
    contended: bool = False
    """Whether its ranks waited for cores that others had."""
    status: Status = Status.DONE
    cause: Line = ""
    machine: tuple[tuple[Whole, Count], ...] = ()
    """Where it is not the cell's."""
    software: Whole | None = None
    """Likewise."""
    counts: dict[Line, Quantity] = field(default_factory=dict)
    """Those that are not the same in all runs of the cell."""


@checked
class BaselineCell:
    """One cell with its repeats."""

    gpus: Count
    nodes: Count | None = None
    micro_batch: Count | None = None
    accum: Count | None = None
    sequence: Count = 1
    work: Whole | None = None
    images: Whole | None = None
    conditions: dict[Line, Line] = field(default_factory=dict)
    """Those that are not the same in all cells."""
    machine: tuple[tuple[Whole, Count], ...] = ()
    """Number of a machine in `machines`, and how many ranks had it."""
    software: Whole | None = None
    """Number of an entry of `software`."""
    counts: dict[Line, Quantity] = field(default_factory=dict)
    """Of a step; the same in all of its runs."""
    runs: tuple[BaselineRun, ...]


@checked
class Baseline:
    """The file."""

    kind: Literal["vit_sweep baseline"]
    """`KIND`, which a type must spell."""
    schema_version: Whole
    study: Line
    vit_sweep: Line
    """Version that wrote it."""
    commit: Line
    """Of the repository that its writer stood in; empty outside of one."""
    conditions: dict[Line, Line]
    """What all cells share."""
    machines: tuple[Fingerprint, ...]
    """Each kind once, without names of hosts and numbers of GPUs."""
    software: tuple[dict[Line, Line], ...]
    cells: tuple[BaselineCell, ...]


def commit_here() -> str:
    """The commit of the repository that this process stands in; empty outside of one."""
    return git_commit(Path()) or ""


def baseline_of(study: str, runs: Iterable[Run], *, commit: str) -> Baseline:
    """What `gate` needs of these runs: those that have ended, whatever became of them, and go on from no other."""
    groups = grouped((_cell_of(run), run) for run in runs if not run.continued_from)
    common = _common(dict(run.conditions) for group in groups.values() for run in group)
    machines: dict[Fingerprint, int] = {}
    software: dict[tuple[tuple[str, str], ...], int] = {}
    cells = [
        _cell(group, common, machines, software) for _, group in sorted(groups.items(), key=lambda item: str(item[0]))
    ]
    return Baseline(
        kind=KIND,
        schema_version=SCHEMA_VERSION,
        study=study,
        vit_sweep=__version__,
        commit=commit,
        conditions=common,
        machines=tuple(machines),
        software=tuple(dict(known) for known in software),
        cells=tuple(sorted(cells, key=lambda cell: (cell.gpus, cell.nodes or 0, cell.micro_batch or 0))),
    )


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Write the file; raises `UserError` for one that is not called `.json`."""
    if path.suffix != ".json":
        raise UserError(f"write_baseline={path}: write FILE.json")
    write(path, text_of(baseline))


def text_of(baseline: Baseline) -> str:
    """The content of such a file."""
    return f"{indented(to_plain(baseline, defaults=False), sort_keys=True)}\n"


def read_baseline(path: Path) -> Baseline:
    """Read such a file; raises `UserError` for another, or another version of it."""
    label = f"baseline {path}"
    try:
        text = read(path, max_bytes=MOST_BYTES)
    except FileNotFoundError:
        raise UserError(
            f"{label}: no such file; write one from a study that is as it should be: gate STUDY --write-baseline {path}"
        ) from None
    except OSError as error:
        raise UserError(f"{label}: {error.strerror}") from None
    return parsed_baseline(text, label)


def parsed_baseline(text: bytes, label: str) -> Baseline:
    """The same of its text; `label`: what an error message calls it."""
    head = _head(text)
    if head.get("kind") != KIND:
        raise UserError(f"{label} is none: it was not written by gate STUDY --write-baseline FILE.json")
    if head.get("schema_version") != SCHEMA_VERSION:
        raise UserError(
            f"{label} has schema_version={head.get('schema_version')} and this vit_sweep reads {SCHEMA_VERSION}: "
            "another version wrote it; write it anew with --write-baseline"
        )
    baseline = parse_json(Baseline, text, source=label)
    _check_numbers(baseline, label)
    return baseline


def source_of_parsed(baseline: Baseline, path: Path) -> Source:
    """The same of one that was read already; `path`: what it is called."""
    runs = tuple(runs_of_baseline(baseline))
    days = sorted({run.started_at[:10] for run in runs if run.started_at})
    when = f", run on {days[0]}{f' to {days[-1]}' if len(days) > 1 else ''}" if days else ""
    commit = f", commit {baseline.commit[:12]}" if baseline.commit else ""
    words = hardware_words(baseline.machines)
    note = f"study {baseline.study}{commit}{when}{f', {words}' if words else ''}"
    return Source(name=str(path), runs=runs, notes=(note,), files=(path,))


def runs_of_baseline(baseline: Baseline) -> Iterable[Run]:
    """The runs that it holds."""
    for number, cell in enumerate(baseline.cells):
        conditions = tuple(sorted((baseline.conditions | cell.conditions).items()))
        for place, run in enumerate(cell.runs):
            yield Run(
                run_id=f"cell-{number + 1}-run-{place + 1}",
                origin=Origin.IMPORTED,
                gpus=cell.gpus,
                **{name: getattr(cell, name) for name in _SHARED_FIELDS},
                conditions=conditions,
                seed=run.seed,
                status=run.status,
                cause=run.cause,
                epoch_s=() if run.epoch_s is None else (run.epoch_s,),
                oversubscribed=run.oversubscribed,
                flags=(CONTENDED_HOST,) if run.contended else (),
                started_at=run.started_at,
                job_s=run.job_s,
                machine=tuple(
                    baseline.machines[kind] for kind, ranks in run.machine or cell.machine for _ in range(ranks)
                ),
                software=_software(baseline, cell, run),
                counts=tuple(sorted((cell.counts | run.counts).items())),
            )


def _head(text: bytes) -> Mapping[str, Any]:
    import json

    try:
        head = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return head if isinstance(head, dict) else {}


def _software(baseline: Baseline, cell: BaselineCell, run: BaselineRun) -> tuple[tuple[str, str], ...]:
    number = cell.software if run.software is None else run.software
    return () if number is None else tuple(sorted(baseline.software[number].items()))


def _check_numbers(baseline: Baseline, label: str) -> None:
    entries: list[BaselineCell | BaselineRun] = []
    for cell in baseline.cells:
        entries += [cell, *cell.runs]
    for entry in entries:
        wrong = [kind for kind, _ in entry.machine if kind >= len(baseline.machines)]
        if wrong or (entry.software or 0) >= max(1, len(baseline.software)):
            raise UserError(f"{label}: a run names a machine or software that the file does not list; write it anew")


def _cell_of(run: Run) -> tuple[Any, ...]:
    return (run.gpus, *(getattr(run, name) for name in _SHARED_FIELDS), run.conditions)


def _common(dicts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What all of them say alike."""
    mappings = list(dicts)
    if not mappings:
        return {}
    return {name: value for name, value in mappings[0].items() if all(other.get(name) == value for other in mappings)}


def _cell(
    runs: Sequence[Run],
    common: Mapping[str, str],
    machines: dict[Fingerprint, int],
    software: dict[tuple[tuple[str, str], ...], int],
) -> BaselineCell:
    ordered = sorted(runs, key=lambda run: (run.seed or 0, run.started_at))
    counts = _common(dict(run.counts) for run in ordered)
    machine_counts = [_machine(run, machines) for run in ordered]
    software_numbers = [software.setdefault(run.software, len(software)) if run.software else None for run in ordered]
    return BaselineCell(
        gpus=ordered[0].gpus,
        **{name: getattr(ordered[0], name) for name in _SHARED_FIELDS},
        conditions={name: value for name, value in ordered[0].conditions if common.get(name) != value},
        machine=machine_counts[0],
        software=software_numbers[0],
        counts=counts,
        runs=tuple(
            BaselineRun(
                seed=run.seed,
                epoch_s=median(run.epoch_s) if run.epoch_s else None,
                started_at=run.started_at,
                job_s=run.job_s,
                oversubscribed=run.oversubscribed,
                contended=any(flag.startswith(CONTENDED_HOST) for flag in run.flags),
                status=run.status,
                cause=run.cause,
                machine=machine if machine != machine_counts[0] else (),
                software=number if number != software_numbers[0] else None,
                counts={name: value for name, value in run.counts if name not in counts},
            )
            for run, machine, number in zip(ordered, machine_counts, software_numbers, strict=True)
        ),
    )


def _machine(run: Run, machines: dict[Fingerprint, int]) -> tuple[tuple[int, int], ...]:
    kinds = Counter(machines.setdefault(_kind(rank), len(machines)) for rank in run.machine)
    return tuple(sorted(kinds.items()))


def _kind(rank: Fingerprint) -> Fingerprint:
    """The kind of machine, without which one it was and what its clock and links did at that moment."""
    gpu = rank.gpu and replace(
        rank.gpu, serial=None, numa_node=None, sm_clock_mhz=None, other_processes=None, other_mib=None
    )
    return replace(
        rank, rank=0, host="", gpu=gpu, host_memory_mib=None, network_gbit_per_s=None, kernel=None, modules=None
    )
