"""What rows are made of: configurations, pooled runs, numbers with intervals. Pure, no numpy.

The tables that compare configurations (batch, accumulation, placement, engines, ...) pool runs that differ in their
seed only. Oversubscribed runs and those that a series set apart are in none of these.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from functools import lru_cache
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from vit_sweep.analysis.series.series import Estimate, ScalingSeries, SeriesPoint
from vit_sweep.record.metrics import METRICS
from vit_sweep.report.tables.form.columns import CONFIGURATION, SIZES
from vit_sweep.report.tables.form.table import HIGH, LOW, SOURCE_RUNS, Cells
from vit_sweep.runs.run import Run, in_order, within

if TYPE_CHECKING:
    # It imports numpy.
    from vit_sweep.analysis.series.spreads import Ratio

Conditions = tuple[tuple[str, str], ...]
_GROUPS = ("model", "data", "engine", "optimizer", "partition")
"""Conditions with a name, behind which stand values: `model.layers`."""


class PoolTimes(NamedTuple):
    """What repeats of one configuration took, with intervals."""

    time_s: Estimate
    step_ms: Estimate | None


class Times(NamedTuple):
    """What the pools of runs took, and how they compare."""

    by_ids: Mapping[tuple[str, ...], PoolTimes]
    """Of every pool of runs, by their ids."""
    ratio: "Callable[[Sequence[Run], Sequence[Run]], Ratio]"
    """Epoch time of one pool over that of another."""
    notes: tuple[str, ...] = ()
    """What a reader of the intervals must know."""


def estimate(name: str, number: Estimate | None) -> Cells:
    """Three fields: the number and its bounds."""
    if number is None:
        return {name: None, name + LOW: None, name + HIGH: None}
    return {name: number.value, name + LOW: number.low, name + HIGH: number.high}


def comparable(runs: Iterable[Run], series: Iterable[ScalingSeries] = ()) -> list[Run]:
    """The runs with a time that may stand beside others: each once, in an order of their own."""
    apart = {out.run.run_id for curve in series for out in curve.apart}
    sound = {run.run_id: run for run in runs if run.timed and not run.oversubscribed and run.run_id not in apart}
    return [sound[name] for name in sorted(sound)]


def pools(runs: Iterable[Run], key: Callable[[Run], Hashable]) -> list[list[Run]]:
    """Runs with an equal key, each group's in the order of their ids."""
    groups: dict[Hashable, list[Run]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return [sorted(group, key=lambda run: run.run_id) for group in groups.values()]


def ids_of(runs: Iterable[Run]) -> tuple[str, ...]:
    """What names a pool of runs, whatever their order."""
    return tuple(sorted(run.run_id for run in runs))


def by_configuration(run: Run) -> tuple[Hashable, ...]:
    """What is equal for repeats: all but the seed. Sorts as tables do."""
    return (in_order(run.conditions), run.work or 0, run.micro_batch or 0, run.accum or 0, run.gpus, run.nodes or 0)


def placement_of(run: Run) -> str:
    """What its curves asked for, else its number of nodes; empty where neither is known."""
    names = sorted({membership.placement for membership in run.curves if membership.placement})
    return " ".join(names) or (f"nodes={run.nodes}" if run.nodes is not None else "")


@lru_cache(maxsize=4096)
def without(conditions: Conditions, *names: str) -> Conditions:
    """Conditions that are left when a name, and every value behind it, may differ."""
    return tuple((name, value) for name, value in conditions if name.split(".", 1)[0] not in names)


class Variants:
    """Says of each configuration of a table what tells it from the others beyond its names."""

    def __init__(self, all_conditions: Iterable[Conditions]) -> None:
        self._by_conditions: dict[Conditions, str] = {}
        self._fields: dict[Conditions, Cells] = {}
        plain = {conditions: dict(conditions) for conditions in dict.fromkeys(all_conditions)}
        values: dict[str, dict[tuple[str, ...], set[str]]] = {}
        for stated in plain.values():
            names = tuple(stated.get(name, "") for name in _GROUPS)
            for name, value in stated.items():
                if name not in CONFIGURATION and name != "epochs":
                    values.setdefault(name, {}).setdefault(names, set()).add(value)
        telling = sorted(
            name for name, by_names in values.items() if any(len(distinct) > 1 for distinct in by_names.values())
        )
        self.keys = tuple(telling)
        """What tells them from each other, by name."""
        for conditions, stated in plain.items():
            self._by_conditions[conditions] = ", ".join(f"{name}={stated.get(name, '')}" for name in telling)

    def configuration(self, conditions: Conditions) -> Cells:
        """The fields of `CONFIGURATION`, and the number of epochs."""
        if conditions not in self._fields:
            stated = dict(conditions)
            self._fields[conditions] = {name: stated.get(name) for name in CONFIGURATION} | {
                "variant": self._by_conditions.get(conditions, ""),
                "epochs": _whole(stated.get("epochs")),
            }
        return dict(self._fields[conditions])


def engine_labels(all_conditions: Iterable[Conditions]) -> dict[Conditions, str]:
    """Each engine's name, with the keys that tell it from others of that name: `zero2 overlap_comm=True`."""
    engines = {within(conditions, ("engine",)) for conditions in all_conditions}
    by_name: dict[str, set[Conditions]] = {}
    for engine in engines:
        by_name.setdefault(dict(engine).get("engine", ""), set()).add(engine)
    labels = {}
    for name, same_name in by_name.items():
        for engine in same_name:
            telling = [value for value in engine if not all(value in other for other in same_name)]
            labels[engine] = " ".join([name, *(f"{key.partition('.')[2]}={value}" for key, value in telling)])
    return labels


def _whole(text: str | None) -> int | str | None:
    return int(text) if text is not None and text.isdigit() else text


def sizes_of(run: Run) -> Cells:
    """How large a run is."""
    return {name: getattr(run, name) for name in SIZES}


def pooled(runs: Sequence[Run], times: Times) -> Cells:
    """What any table says of repeats of one configuration; at least one run, all with a time."""
    first = runs[0]
    time, step = times.by_ids[ids_of(runs)]
    images = {run.images for run in runs}
    rate = time.inverse(float(first.images)) if first.images is not None and len(images) == 1 else None
    return {
        **sizes_of(first),
        "global_batch": first.global_batch,
        **estimate("epoch_s", time),
        "n": len(runs),
        **estimate("step_ms", step),
        **estimate("images_per_s", rate),
        **last_learnt(runs),
        "memory_mib": max((run.memory_mib for run in runs if run.memory_mib is not None), default=None),
        "communication_ms": middle(run.parts.communication if run.parts else None for run in runs),
        **runs_behind(runs),
    }


def last_learnt(runs: Iterable[Run]) -> Cells:
    """Median over runs of how well they do after their last epoch, by the measures of their task."""
    all_runs = list(runs)
    return {
        "train_accuracy": middle(run.train_accuracy[-1] for run in all_runs if run.train_accuracy),
        "test_accuracy": middle(run.test_accuracy[-1] for run in all_runs if run.test_accuracy),
        **{
            metric.column: middle(
                values[-1] for run in all_runs for name, values in run.test_metrics if name == metric.name
            )
            for metric in METRICS
        },
    }


def runs_behind(runs: Sequence[Run], *, compared_with: Sequence[Run] = ()) -> Cells:
    """Which runs a row is made of, and reasons to distrust their times or those of the runs that it is compared with.

    `compared_with`: those of the latter that no other row is made of.
    """
    return names_of(runs) | {"flags": flags_of([*runs, *compared_with]), SOURCE_RUNS: (*runs, *compared_with)}


def names_of(runs: Collection[Run]) -> Cells:
    """The ids and seeds of a row's runs."""
    seeds = sorted({run.seed for run in runs if run.seed is not None})
    return {
        "seeds": " ".join(map(str, seeds)) if seeds else None,
        "cell_id": " ".join(sorted({run.run_id for run in runs})),
    }


def flags_of(flagged: Iterable[Run | SeriesPoint]) -> str | None:
    """Every flag of any of the runs, or of a point of them, once."""
    return "; ".join(dict.fromkeys(flag for run_or_point in flagged for flag in run_or_point.flags)) or None


def middle(values: Iterable[float | None]) -> float | None:
    """The median of what is known."""
    known = [value for value in values if value is not None]
    return median(known) if known else None
