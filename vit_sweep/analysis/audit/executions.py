"""Rules about runs: how many, how complete, with or without their cold start. Pure."""

from collections.abc import Iterator
from statistics import median

from launchers.text import some
from vit_sweep.analysis.audit.finding import Claim, Evidence, Finding, Severity, gpus_of

REPEATS_DIFFER = "repeats of such runs differ by 0.5 to 5 %, weak ones by up to 19 % (logs of arXiv:2602.21081)"


def single_runs(evidence: Evidence) -> Iterator[Finding]:
    """Points that rest on one run: nobody knows how far a repeat would lie from it."""
    for series in evidence.series:
        single = [point for point in series.timed if len(point.runs) == 1]
        if not single:
            continue
        every = len(single) == len(series.timed)
        yield Finding(
            rule="single runs",
            severity=Severity.FALLS if every else Severity.WEAKENS,
            claims=(Claim.SMALL_DIFFERENCES,),
            where=series.label,
            sentence=f"{len(single)} of {len(series.timed)} points rest on one run"
            + ("" if every else f" ({some(gpus_of(point.gpus) for point in single)})")
            + f", so they have no interval; {REPEATS_DIFFER}",
            advice="repeat each cell with other seeds on other nodes, three times at least; claim nothing smaller",
        )


def partial_runs(evidence: Evidence) -> Iterator[Finding]:
    """Runs that stopped early and are averaged with whole ones."""
    cut = [run for run in evidence.runs if run.timed and run.partial]
    if not cut:
        return
    said = some(f"{gpus_of(run.gpus)}: {run.epochs_done} of {run.epochs_asked} epochs ({run.run_id})" for run in cut)
    yield Finding(
        rule="partial runs",
        claims=(Claim.THROUGHPUT, Claim.ACCURACY),
        sentence=f"{len(cut)} run(s) stopped early: {said}; their accuracy is that of an earlier epoch",
        advice="run them again to the end, and compare accuracies of equal epochs only",
    )


def missing_ranks(evidence: Evidence) -> Iterator[Finding]:
    """Runs of which not every rank's time is there: the slowest may be the one that is missing."""
    said = [
        f"{run.run_id}: {flag}" for run in evidence.runs for flag in run.flags if flag.startswith("rows missing")
    ]  # fmt: skip
    if not said:
        return
    yield Finding(
        rule="missing ranks",
        claims=(Claim.THROUGHPUT,),
        sentence=f"{len(said)} run(s) lack ranks, and the slowest may be among them: {some(said, 2)}",
        advice="let one process write the maximum over ranks instead of all appending to one file",
    )


def warm_up_included(evidence: Evidence) -> Iterator[Finding]:
    """The first epoch (start-up, compilation, cold caches, cool GPUs) is in the figures."""
    published = [
        (run.published_s, median(run.epoch_s), run.gpus)
        for run in evidence.runs
        if run.published_s is not None and run.timed
    ]  # fmt: skip
    moved = sorted((one for one in published if one[0] != one[1]), key=lambda one: -abs(one[0] / one[1] - 1))
    if moved:
        said = some(
            f"{gpus_of(gpus)} {whole:.1f} s against {warm:.1f} s without it ({whole / warm - 1:+.1%})"
            for whole, warm, gpus in moved[:3]
        )
        yield _warm_up(
            sentence=f"the source's {len(published)} means contain the first epoch: {said}; here it is left out",
            advice="leave the first epoch, or enough steps, out of every mean",
        )
    stuck = [run for run in evidence.runs if run.timed and run.published_s is not None and run.first_epoch_s is None]
    if stuck:
        yield _warm_up(
            sentence=f"of {len(stuck)} run(s) only the mean from epoch 1 on is known, which cannot be taken out: "
            f"{some(run.run_id for run in stuck)}",
            advice="publish every epoch, or the mean without the first beside it",
        )
    alone = [run for run in evidence.runs if run.timed and run.epochs_done == 1]
    if alone:
        yield _warm_up(
            sentence=f"{len(alone)} run(s) have one epoch only, the cold one: {some(run.run_id for run in alone)}",
            advice="run three epochs or more",
        )


def _warm_up(sentence: str, advice: str) -> Finding:
    return Finding(
        rule="warm-up included",
        claims=(Claim.THROUGHPUT,),
        sentence=sentence,
        advice=advice,
    )
