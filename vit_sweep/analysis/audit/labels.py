"""Rules about columns that say something else than they seem to: each names the column that would settle it. Pure.

They judge imported tables only; in a study the same settings made the runs and their labels.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from statistics import median

from launchers.text import grouped, plural, some
from vit_sweep.analysis.audit.finding import Claim, Evidence, Finding
from vit_sweep.analysis.series.series import ScalingSeries
from vit_sweep.plan.choices import Scaling
from vit_sweep.runs.run import Origin, Run

_LIKE = 0.02
"""Counts that differ by less are the same but for rounding."""
_STEPS_TELL = 0.2
"""How near the images of a step, from its time, must come to the column."""
_FLAT = (0.85, 1.2)
"""Epoch times over the baseline's between which a curve is flat."""


def global_batch_column(evidence: Evidence) -> Iterator[Finding]:
    """A `batch` that grows with `gpus`, or that the time of a step contradicts: images per step of all GPUs."""
    imported = [run for run in _imported(evidence) if "batch_per" in run.assumed and run.micro_batch]
    for runs in grouped(((run.conditions, run.accum, run.curves[0].scaling), run) for run in imported).values():
        grown = _in_proportion((run.gpus, run.micro_batch) for run in runs)
        if grown:
            yield _global_batch(
                sentence=f"`batch` grows with the GPUs ({_pairs(grown)}), so no two GPU counts share a series and none "
                "has a baseline: as it stands in a table of global batches"
            )
    for series in evidence.series:
        if steps := steps_tell(series):
            yield _global_batch(
                sentence=f"the time of a step tells how many images it has: {steps}", where=series.label
            )


_global_batch = partial(
    Finding,
    rule="global batch as batch per GPU",
    claims=(Claim.THROUGHPUT, Claim.FIXED_PROBLEM),
    advice="if it counts all GPUs, add a column batch_per with global (or --set batch_per=global); else with gpu",
)


def steps_tell(series: ScalingSeries) -> str:
    """Where images, epoch and step times say that `batch` counts all GPUs; empty where they do not, or nothing does.

    images x step / epoch = images of an optimizer step: of one GPU times GPUs if `batch` is per GPU.
    """
    per_step = [
        f"{implied:.0f} images a step on {plural(run.gpus, 'GPU')}, where `batch` says {run.micro_batch * run.accum}"
        for point in series.timed
        for run in point.runs
        if run.gpus > 1 and run.micro_batch and run.accum and "batch_per" in run.assumed
        if (implied := _images_of_a_step(run)) is not None
        if abs(implied / (run.micro_batch * run.accum) - 1) < _STEPS_TELL
    ]
    return some(per_step, 3)


def _images_of_a_step(run: Run) -> float | None:
    if run.step_ms is None or run.work is None or not run.timed:
        return None
    return run.work * run.step_ms / 1000 / median(run.epoch_s)


def weak_rows_called_strong(evidence: Evidence) -> Iterator[Finding]:
    """`images` that grow with `gpus` in rows of strong scaling; or, without images, times that stay equal."""
    strong = [run for run in _imported(evidence) if run.curves[0].scaling is Scaling.STRONG]
    with_images = [run for run in strong if run.work]
    for runs in grouped(((run.conditions, run.accum, run.micro_batch), run) for run in with_images).values():
        grown = _in_proportion((run.gpus, run.work) for run in runs)
        if grown:
            yield _weak_called_strong(
                sentence=f"`images` grows with the GPUs ({_pairs(grown)}), so each count is a series of its own with "
                "100% efficiency, or none: rows of weak scaling",
            )
    for series, first, last, times in _without_images(evidence.strong):
        if last >= 4 * first and all(_FLAT[0] <= ratio <= _FLAT[1] for ratio in times.values()):
            yield _weak_called_strong(
                sentence=f"an epoch takes as long on {plural(last, 'GPU')} as on {plural(first, 'GPU')} "
                f"({times[last]:.2f} times), as in weak scaling, and no column `images` says otherwise",
                where=series.label,
            )


_weak_called_strong = partial(
    Finding,
    rule="weak rows called strong",
    claims=(Claim.THROUGHPUT,),
    advice="add a column scaling with weak (or --set scaling=weak), and a column images",
)
_strong_called_weak = partial(
    Finding,
    rule="strong rows called weak",
    claims=(Claim.THROUGHPUT,),
    advice="write strong in the column scaling (or --set scaling=strong), and the images of all GPUs in images",
)


def _without_images(curves: Iterable[ScalingSeries]) -> Iterator[tuple[ScalingSeries, int, int, dict[int, float]]]:
    """Imported series with a baseline, whose images are not known: GPUs of the baseline, the most GPUs, and by count
    the time over that of the baseline."""
    for series in curves:
        base = series.baseline
        if base is None or base.time_s is None or series.key.work is not None or base.runs[0].origin is Origin.STUDY:
            continue
        times = {p.gpus: p.time_s.value / base.time_s.value for p in series.timed if p.time_s is not None}
        yield series, base.gpus, max(times), times


def strong_rows_called_weak(evidence: Evidence) -> Iterator[Finding]:
    """Rows of weak scaling whose `images` do not grow, or are not there, and whose times shrink with the GPUs."""
    for runs, gain, ideal in _weak_with_equal_images(evidence):
        if gain > _SHRINKS * ideal:
            yield _strong_called_weak(
                sentence=f"`images` is {runs[0].work:,} on {_counts(runs)} GPUs, where it grows in weak scaling, and "
                f"an epoch takes {1 / gain:.2f} times as long on the last",
            )
    for series, first, last, times in _without_images(evidence.weak):
        gain = 1 / times[last]
        if last > first and gain > _SHRINKS * last / first and gain > 1 / _FLAT[0]:
            yield _strong_called_weak(
                sentence=f"an epoch takes {1 / gain:.2f} times as long on {plural(last, 'GPU')} as on "
                f"{plural(first, 'GPU')}, as in strong scaling, and no column `images` says otherwise",
                where=series.label,
            )


_SHRINKS = 0.5
"""Part of ideal strong scaling from which on times shrink as they do there."""


def images_of_one_gpu(evidence: Evidence) -> Iterator[Finding]:
    """`images` that counts those of one GPU: in proportion to 1 / gpus (strong), or equal, with no gain (weak)."""
    reasons = [
        f"in rows of weak scaling it is {runs[0].work:,} on {_counts(runs)} GPUs, while an epoch takes "
        f"{1 / gain:.2f} times as long on the last"
        for runs, gain, ideal in _weak_with_equal_images(evidence)
        if gain <= _SHRINKS * ideal
    ]
    strong = [run for run in _imported(evidence) if run.curves[0].scaling is Scaling.STRONG and run.work]
    for runs in grouped(((run.conditions, run.accum, run.curves[0].placement), run) for run in strong).values():
        by_count = {run.gpus: run.work or 0 for run in runs}
        totals = [gpus * images for gpus, images in by_count.items()]
        if len(by_count) > 1 and max(totals) <= (1 + _LIKE) * min(totals):
            reasons.append(
                f"in rows of strong scaling it shrinks with the GPUs ({_pairs(dict(sorted(by_count.items())))})"
            )
    if reasons:
        yield Finding(
            rule="images of one GPU",
            claims=(Claim.THROUGHPUT,),
            sentence=f"`images` seems to count those of one GPU: {some(reasons, 2, separator='; ')}",
            advice="`images` counts those of all GPUs in an epoch: multiply it by gpus",
        )


def _weak_with_equal_images(evidence: Evidence) -> Iterator[tuple[list[Run], float, float]]:
    """Alike runs of weak scaling on several GPU counts, all with the same images; how many times as fast the largest
    count is as the smallest, and how many times as many GPUs it has."""
    weak = [run for run in _imported(evidence) if run.curves[0].scaling is Scaling.WEAK and run.work]
    for runs in grouped(((run.conditions, run.accum, run.micro_batch), run) for run in weak).values():
        counts = sorted({run.gpus for run in runs})
        if len(counts) > 1 and len({run.work for run in runs}) == 1:
            yield runs, _time_on(runs, counts[0]) / _time_on(runs, counts[-1]), counts[-1] / counts[0]


def _counts(runs: Iterable[Run]) -> str:
    return some(map(str, sorted({run.gpus for run in runs})))


def gpus_of_one_node(evidence: Evidence) -> Iterator[Finding]:
    """A `gpus` that counts those of one node: fewer than there are nodes, or the same on more and more of them."""
    imported = [run for run in _imported(evidence) if run.nodes]
    reasons = []
    few = sorted({(run.gpus, run.nodes) for run in imported if run.nodes and run.gpus < run.nodes})
    if few:
        places = some(f"{plural(gpus, 'GPU')} on {plural(nodes, 'node')}" for gpus, nodes in few)
        reasons.append(f"{places}: fewer than one a node")
    for runs in grouped(
        ((run.conditions, run.accum, run.micro_batch, run.curves[0].scaling), run) for run in imported
    ).values():
        by_nodes = {nodes: [run for run in runs if run.nodes == nodes] for nodes in {run.nodes or 0 for run in runs}}
        least, most = min(by_nodes), max(by_nodes)
        if least == most or len({run.gpus for run in runs}) > 1:
            continue
        gain = _time(by_nodes[least]) / _time(by_nodes[most])
        # The same GPUs on more nodes are a little slower, never so many times as fast.
        if gain > _SHRINKS * most / least and gain > 1 / _FLAT[0]:
            reasons.append(
                f"`gpus` is {runs[0].gpus} on {some(map(str, sorted(by_nodes)))} nodes, yet an epoch on {most} is "
                f"{gain:.1f} times as fast as on {least}"
            )
    if reasons:
        yield Finding(
            rule="GPUs of one node",
            claims=(Claim.THROUGHPUT, Claim.SMALL_DIFFERENCES),
            sentence=f"`gpus` seems to count those of one node: {some(reasons, 2, separator='; ')}",
            advice="`gpus` counts all GPUs of a run: multiply it by nodes, or correct nodes",
        )


def _time(runs: Iterable[Run]) -> float:
    return median(median(run.epoch_s) for run in runs)


def _time_on(runs: Iterable[Run], gpus: int) -> float:
    return _time(run for run in runs if run.gpus == gpus)


def names_alike(evidence: Evidence) -> Iterator[Finding]:
    """One thing written in two ways, which makes two series of it: `T4` beside `Tesla T4`."""
    columns: dict[str, set[str]] = {}
    for run in _imported(evidence):
        for name, value in run.conditions:
            columns.setdefault(name, set()).add(value)
        columns.setdefault("device", set()).update(run.devices)
        columns.setdefault("placement", set()).update(curve.placement for curve in run.curves if curve.placement)
    pairs = [
        f"{name}: {short} and {long}"
        for name, values in sorted(columns.items())
        for short in sorted(values)
        for long in sorted(values)
        if short != long and _same_name(short, long)
    ]
    if pairs:
        yield Finding(
            rule="names alike",
            claims=(Claim.THROUGHPUT, Claim.SMALL_DIFFERENCES),
            sentence=f"what looks like one thing has two names, and makes two series: {some(pairs)}",
            advice="write one name for one thing in that column; if they differ, name what differs",
        )


_MAKERS = frozenset({"nvidia", "tesla", "geforce", "amd", "instinct", "gpu"})
_SPELLINGS = {"float32": "fp32", "single": "fp32", "float16": "fp16", "half": "fp16", "bfloat16": "bf16"}
_SPELLINGS |= {"32true": "fp32", "16mixed": "fp16", "bf16mixed": "bf16"}  # as Lightning writes them


def _same_name(short: str, long: str) -> bool:
    """Whether two names differ in spelling only, or in the maker that one of them leaves out; each pair once."""
    first, second = _tokens(short), _tokens(long)
    if "".join(first) == "".join(second):
        return short < long
    return bool(set(first)) and set(first) < set(second) and set(second) - set(first) <= _MAKERS


def _tokens(name: str) -> list[str]:
    words = re.findall(r"[a-z]+|\d+", name.lower())
    spelled = _SPELLINGS.get("".join(words))
    return [spelled] if spelled else words


def _imported(evidence: Evidence) -> list[Run]:
    return [run for run in evidence.runs if run.origin is not Origin.STUDY and run.timed and run.curves]


def _in_proportion(pairs: Iterable[tuple[int, int | None]]) -> Mapping[int, int]:
    """The value of each GPU count, where every count has one of its own and all are in proportion; else nothing."""
    values: dict[int, set[int]] = {}
    for gpus, value in pairs:
        if value is not None:
            values.setdefault(gpus, set()).add(value)
    if len(values) < 2 or any(len(own) > 1 for own in values.values()):
        return {}
    single = {gpus: own.pop() for gpus, own in sorted(values.items())}
    per_gpu = [value / gpus for gpus, value in single.items()]
    return single if max(per_gpu) <= (1 + _LIKE) * min(per_gpu) else {}


def _pairs(values: Mapping[int, int]) -> str:
    return some(f"{value:,} on {plural(gpus, 'GPU')}" for gpus, value in values.items())
