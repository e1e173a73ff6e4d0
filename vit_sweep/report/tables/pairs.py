"""Two ways to run the same work, side by side: packed against spread, one engine against another. Pure."""

from collections.abc import Iterable, Sequence
from functools import lru_cache

from vit_sweep.analysis.series.bootstrap import ratio_of
from vit_sweep.analysis.series.series import Estimate
from vit_sweep.report.tables.columns import COLUMNS, WHAT, bounded
from vit_sweep.report.tables.parts import (
    Conditions,
    Times,
    Variants,
    by_configuration,
    estimate,
    placement_of,
    pooled,
    pools,
    without,
)
from vit_sweep.report.tables.table import Cells, Table, table
from vit_sweep.runs.run import Run

PLACEMENT_COLUMNS = bounded(
    *WHAT, "epochs", "work", "micro_batch", "accum", "gpus", "placement", "nodes", "epoch_s", "n", "communication_ms",
    "reference", "reference_nodes", "reference_epoch_s", "reference_n", "reference_communication_ms", "time_ratio",
    "verdict", "flags", "seeds", "cell_id",
)  # fmt: skip
ENGINE_COLUMNS = bounded(
    *WHAT, "zero_stage", "epochs", "work", "gpus", "nodes", "micro_batch", "accum", "epoch_s", "n", "step_ms",
    "images_per_s", "memory_mib", "reference", "time_ratio", "verdict", "train_accuracy", "test_accuracy", "flags",
    "seeds", "cell_id",
)  # fmt: skip
SAME, UNKNOWN = "cannot tell apart", "cannot tell: an interval needs two runs on either side"


def verdict(ratio: Estimate) -> str:
    """What a ratio of times lets one say."""
    if ratio.low is None or ratio.high is None:
        return UNKNOWN
    if ratio.low > 1:
        return "slower"
    return "faster" if ratio.high < 1 else SAME


def placement_table(runs: Iterable[Run], times: Times) -> Table | None:
    """The same GPUs on more nodes against on fewest: a row per pair; None where nothing ran on two layouts."""
    several = (run for run in runs if run.gpus > 1 and (run.nodes is not None or run.curves))
    groups = pools(several, lambda run: (run.conditions, run.work or 0, run.micro_batch or 0, run.accum or 0, run.gpus))
    pairs: list[tuple[list[Run], list[Run]]] = []
    for group in groups:
        layouts = sorted(pools(group, _layout), key=lambda some: _layout(some[0]))
        pairs += [(layouts[0], other) for other in layouts[1:]]
    pairs.sort(key=lambda pair: by_configuration(pair[1][0]))
    variants = Variants(other[0].conditions for _, other in pairs)
    rows = [_pair(fewest, other, variants, times) for fewest, other in pairs]
    title = "Placement: the same GPUs on more nodes against on the fewest"
    return table("placement", title, PLACEMENT_COLUMNS, rows, known=COLUMNS)


def engine_table(runs: Iterable[Run], times: Times) -> Table | None:
    """Engines and ZeRO stages on the same work; the reference is the lowest stage. None with one engine only."""
    groups = pools(
        runs,
        lambda run: (
            without(run.conditions, "engine"), run.work or 0, run.micro_batch or 0, run.accum or 0, run.gpus,
            run.nodes or 0,
        ),
    )  # fmt: skip
    telling = [group for group in groups if len({_engine(run.conditions) for run in group}) > 1]
    telling.sort(key=lambda group: by_configuration(group[0]))
    variants = Variants(without(group[0].conditions, "engine") for group in telling)
    rows: list[Cells] = []
    for group in telling:
        engines = sorted(
            pools(group, lambda run: _engine(run.conditions)), key=lambda some: _engine(some[0].conditions)
        )
        for some in engines:
            rows.append(_of_engine(some, engines[0], variants, times))
    title = "Engines and ZeRO stages on the same work"
    return table("engines", title, ENGINE_COLUMNS, rows, known=COLUMNS)


def _pair(fewest: Sequence[Run], other: Sequence[Run], variants: Variants, times: Times) -> Cells:
    ratio = ratio_of([run.epoch_s for run in other], [run.epoch_s for run in fewest])
    base = pooled(fewest, times)
    return (
        variants.what(other[0].conditions)
        | {"work": other[0].work, "placement": placement_of(other[0])}
        | pooled(other, times)
        | {"reference": placement_of(fewest[0]), "reference_nodes": fewest[0].nodes, "reference_n": len(fewest)}
        | {f"reference_{name}": base[name] for name in (*bounded("epoch_s"), "communication_ms")}
        | estimate("time_ratio", ratio)
        | {"verdict": verdict(ratio)}
    )


def _of_engine(runs: Sequence[Run], base: Sequence[Run], variants: Variants, times: Times) -> Cells:
    found = dict(runs[0].conditions)
    stage, name, _ = _engine(runs[0].conditions)
    row = (
        variants.what(without(runs[0].conditions, "engine"))
        | {"engine": name, "zero_stage": found.get("engine.zero_stage") and stage, "work": runs[0].work}
        | pooled(runs, times)
    )
    if runs is base:
        return row
    ratio = ratio_of([run.epoch_s for run in runs], [run.epoch_s for run in base])
    return row | estimate("time_ratio", ratio) | {
        "reference": _engine(base[0].conditions)[1],
        "verdict": verdict(ratio),
    }  # fmt: skip


def _layout(run: Run) -> tuple[int, str]:
    """Where the ranks lie: the number of nodes decides, and its name only where that is not known."""
    return (run.nodes, "") if run.nodes is not None else (0, placement_of(run))


@lru_cache(maxsize=4096)
def _engine(conditions: Conditions) -> tuple[int, str, Conditions]:
    found = dict(conditions)
    stage = found.get("engine.zero_stage", "")
    values = tuple((name, value) for name, value in conditions if name.split(".", 1)[0] == "engine")
    return (int(stage) if stage.isdigit() else -1, found.get("engine", ""), values)
