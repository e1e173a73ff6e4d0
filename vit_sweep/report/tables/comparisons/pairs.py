"""Two ways to run the same work, side by side: packed against spread, one engine against another. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from launchers.checked import to_plain
from launchers.text import plural
from vit_sweep.analysis.certificates import NO_CERTIFICATE, Certificates, algorithm
from vit_sweep.analysis.series.estimates import SIGNIFICANT
from vit_sweep.analysis.series.pooling import holm
from vit_sweep.analysis.series.spreads import Ratio
from vit_sweep.plan.choices import Offload
from vit_sweep.plan.engine.kinds import DDP, FSDP2
from vit_sweep.plan.predict.memory import used_mib
from vit_sweep.plan.specs import EngineSpec
from vit_sweep.report.tables.form.columns import COLUMNS, CONFIGURATION, LEARNT, SIZES, bounded
from vit_sweep.report.tables.form.table import Cells, Table, table
from vit_sweep.report.tables.parts import (
    Conditions,
    Times,
    Variants,
    by_configuration,
    engine_labels,
    estimate,
    middle,
    placement_of,
    pooled,
    pools,
    runs_behind,
    without,
)
from vit_sweep.runs.run import Run, within

PLACEMENT_COLUMNS = bounded(
    *CONFIGURATION,
    *("epochs", "work", "micro_batch", "accum", "gpus", "placement", "nodes", "epoch_s", "n", "communication_ms"),
    *("reference", "reference_nodes", "reference_epoch_s", "reference_n", "reference_communication_ms"),
    *("time_ratio", "verdict", "flags", "seeds", "cell_id"),
)
ENGINE_COLUMNS = bounded(
    *CONFIGURATION,
    *("zero_stage", "epochs", "work"),
    *SIZES,
    *("epoch_s", "n", "step_ms", "images_per_s", "exposed_ms", "memory_mib", "certificate"),
    *("reference", "time_ratio", "time_ratio_predicted", "verdict", "memory_saved", "memory_saved_predicted"),
    *("train_accuracy", "test_accuracy", *LEARNT, "flags", "seeds", "cell_id"),
)
_BY_ITSELF = tuple(
    (f"engine.{name}", str(value))
    for name, value in to_plain(EngineSpec(name="any", zero_stage=None)).items()
    if name not in ("name", "zero_stage", "kind", "reshard_after_forward", "distributed_optimizer")
)
_OFFLOAD = ("engine.offload_optimizer", "engine.offload_param")
APART = "apart, see certificate"
NOT_NEEDED = "not needed: the same is computed, in another schedule"
SAME, UNKNOWN = "cannot tell apart", "cannot tell: an interval needs two runs on either side"
_WHY_APART = (
    "engines are compared only where a certificate says that they train what one process does; certify=true makes one"
)


def verdicts(ratios: Sequence[Ratio]) -> list[str]:
    """What ratios of times that are looked at together let one say: by chance no more than one table in 20 errs."""
    adjusted = holm([ratio.p_value for ratio in ratios]) if ratios else ()
    return [_verdict(ratio, float(p)) for ratio, p in zip(ratios, adjusted, strict=True)]


def _verdict(ratio: Ratio, p: float) -> str:
    low, high = ratio.estimate.low, ratio.estimate.high
    if low is None or high is None:
        return UNKNOWN
    if p >= SIGNIFICANT or low <= 1 <= high:
        return SAME
    return "slower" if low > 1 else "faster"


def placement_table(runs: Iterable[Run], times: Times) -> Table | None:
    """The same GPUs on more nodes against on fewest: a row per pair; None where nothing ran on two layouts."""
    several = (run for run in runs if run.gpus > 1 and (run.nodes is not None or run.curves))
    groups = pools(several, lambda run: (run.conditions, run.work or 0, run.micro_batch or 0, run.accum or 0, run.gpus))
    pairs: list[tuple[list[Run], list[Run]]] = []
    for group in groups:
        layouts = sorted(pools(group, _layout), key=lambda layout_runs: _layout(layout_runs[0]))
        pairs += [(layouts[0], other) for other in layouts[1:]]
    pairs.sort(key=lambda pair: by_configuration(pair[1][0]))
    variants = Variants(other[0].conditions for _, other in pairs)
    ratios = [times.ratio(other, fewest) for fewest, other in pairs]
    rows = [
        _pair(fewest, other, variants, times) | estimate("time_ratio", ratio.estimate) | {"verdict": text}
        for (fewest, other), ratio, text in zip(pairs, ratios, verdicts(ratios), strict=True)
    ]
    title = "Placement: the same GPUs on more nodes against on the fewest"
    return table("placement", title, PLACEMENT_COLUMNS, rows, known=COLUMNS)


def engine_table(runs: Iterable[Run], times: Times) -> Table | None:
    """Engines and ZeRO stages on the same work; None for one engine.

    The reference is DDP, or the lowest stage; of an engine with offload it is the same one without.

    Rows without a certificate that holds are compared with nothing, unless all of them compute the same.
    """
    runs = list(runs)
    certificates = Certificates(runs)
    groups = pools(
        runs,
        lambda run: (
            without(run.conditions, "engine"),
            run.work or 0,
            run.micro_batch or 0,
            run.accum or 0,
            run.gpus,
            run.nodes or 0,
        ),
    )
    telling = [group for group in groups if len({_engine(run.conditions) for run in group}) > 1]
    telling.sort(key=lambda group: by_configuration(group[0]))
    variants = Variants(without(group[0].conditions, "engine") for group in telling)
    labels = engine_labels(run.conditions for group in telling for run in group)
    rows: list[Cells] = []
    compared: list[tuple[Cells, Ratio]] = []
    for group in telling:
        for engine_runs, reference, certified, text in compared_engines(group, certificates):
            label = labels[within(engine_runs[0].conditions, ("engine",))]
            rows.append(_of_engine(engine_runs, variants, times) | {"engine": label, "certificate": text})
            if not certified:
                rows[-1]["verdict"] = APART
            elif reference is not None:
                name = labels[within(reference[0].conditions, ("engine",))]
                rows[-1] |= {"reference": name, **saved_and_paid(engine_runs, reference)}
                compared.append((rows[-1], times.ratio(engine_runs, reference)))
    for (row, ratio), text in zip(compared, verdicts([ratio for _, ratio in compared]), strict=True):
        row.update(estimate("time_ratio", ratio.estimate) | {"verdict": text})
    title = "Engines and ZeRO stages on the same work"
    apart = sum(row.get("verdict") == APART for row in rows)
    note = f"apart: {apart} of {plural(len(rows), 'row')}: {_WHY_APART}" if apart else ""
    return table("engines", title, ENGINE_COLUMNS, rows, known=COLUMNS, notes=[note])


class ComparedEngine(NamedTuple):
    """An engine on some work, and what it is compared with."""

    runs: list[Run]
    reference: list[Run] | None
    """None of the first that is certified, and of those that are not."""
    certified: bool
    certificate: str


def compared_engines(runs: Iterable[Run], certificates: Certificates) -> Iterator[ComparedEngine]:
    """The engines of runs of one work, in the order of tables; see `engine_table`."""
    runs = list(runs)
    one_algorithm = len({algorithm(run) for run in runs}) == 1
    first: list[Run] | None = None
    known: dict[Conditions, list[Run]] = {}
    by_engine = pools(runs, lambda run: _engine(run.conditions))
    for pool in sorted(by_engine, key=lambda pool: _engine(pool[0].conditions)):
        certified, text = certificates.standing(pool)
        if one_algorithm and text == NO_CERTIFICATE:
            certified, text = True, NOT_NEEDED
        engine = within(pool[0].conditions, ("engine",))
        yield ComparedEngine(pool, (known.get(_not_offloaded(engine)) or first) if certified else None, certified, text)
        if certified:
            first, known[engine] = first or pool, pool


def _pair(fewest: Sequence[Run], other: Sequence[Run], variants: Variants, times: Times) -> Cells:
    base = pooled(fewest, times)
    return (
        variants.configuration(other[0].conditions)
        | {"work": other[0].work, "placement": placement_of(other[0])}
        | pooled(other, times)
        | runs_behind(other, compared_with=fewest)
        | {"reference": placement_of(fewest[0]), "reference_nodes": fewest[0].nodes, "reference_n": len(fewest)}
        | {f"reference_{name}": base[name] for name in (*bounded("epoch_s"), "communication_ms")}
    )


def _of_engine(runs: Sequence[Run], variants: Variants, times: Times) -> Cells:
    stage, *_ = _engine(runs[0].conditions)
    return (
        variants.configuration(without(runs[0].conditions, "engine"))
        | {"zero_stage": stage if stage in range(4) else None, "work": runs[0].work}
        | {"exposed_ms": middle(run.parts.exposed if run.parts else None for run in runs)}
        | pooled(runs, times)
    )


def saved_and_paid(runs: Sequence[Run], reference: Sequence[Run]) -> Cells:
    """What an engine saves of the reference's memory, and what the plan expected of memory and time."""
    used, predicted, step = (
        [max((value(run) or 0.0 for run in pool), default=0.0) for pool in (runs, reference)]
        for value in (_used_mib, lambda run: run.memory_predicted_mib, lambda run: run.step_predicted_ms)
    )
    return {
        "memory_saved": 1 - used[0] / used[1] if all(used) else None,
        "memory_saved_predicted": 1 - predicted[0] / predicted[1] if all(predicted) else None,
        "time_ratio_predicted": step[0] / step[1] if all(step) else None,
    }


@lru_cache(maxsize=4096)
def _not_offloaded(engine: Conditions) -> Conditions:
    """The same engine with its states on the GPU; it sorts before this one."""
    return tuple((name, Offload.NONE.value if name in _OFFLOAD else value) for name, value in engine)


def _used_mib(run: Run) -> float | None:
    return used_mib(run.memory_mib) if run.memory_mib is not None else None


def _layout(run: Run) -> tuple[int, str]:
    """Where the ranks lie: the number of nodes decides, and its name only where that is not known."""
    return (run.nodes, "") if run.nodes is not None else (0, placement_of(run))


@lru_cache(maxsize=4096)
def _engine(conditions: Conditions) -> tuple[int, str, int, Conditions]:
    """What sorts engines: the reference first; of equal names, by how many keys are not as by themselves."""
    known = dict(conditions)
    stage = known.get("engine.zero_stage", "")
    # DDP is the control; FSDP2 has no stage, and shards more than most.
    kind = known.get("engine.kind") or known.get("engine", "")
    order = int(stage) if stage.isdigit() else {DDP: -2, FSDP2: 4}.get(kind, -1)
    changed = sum(known.get(name, value) != value for name, value in _BY_ITSELF)
    return (order, known.get("engine", ""), changed, within(conditions, ("engine",)))
