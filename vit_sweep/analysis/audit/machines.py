"""Rules about machines: other nodes, unlike GPUs, conditions not stated, what the runs' own flags say. Pure."""

from collections.abc import Iterator, Sequence

from launchers.text import plural, some
from vit_sweep.analysis.audit.finding import Claim, Evidence, Finding, with_apart
from vit_sweep.analysis.series.series import Apart
from vit_sweep.record.machine import unlike_gpus as differences_of


def another_node(evidence: Evidence) -> Iterator[Finding]:
    """The baseline's machines were used by no other point: the node and the GPU count cannot be told apart."""
    for series in evidence.series:
        base = series.baseline
        if base is None:
            continue
        others_runs = [run for point in with_apart(series) if point is not base for run in point.runs]
        if any("host" in run.rank_0_only for run in others_runs):
            continue
        own = {host for run in base.runs for host in run.hosts}
        others = {host for run in others_runs for host in run.hosts}
        if own and others and not own & others:
            yield Finding(
                rule="baseline on another node",
                claims=(Claim.THROUGHPUT, Claim.SMALL_DIFFERENCES),
                where=series.label,
                sentence=f"the {plural(base.gpus, 'GPU')} run used {some(sorted(own))}, the others "
                f"{some(sorted(others))}: a slow node would look like a law of scaling (identical steps differed "
                "by 15% between nodes of one partition in the logs of arXiv:2602.21081)",
                advice="repeat the baseline on nodes of the other runs",
            )


def unlike_gpus(evidence: Evidence) -> Iterator[Finding]:
    """Different GPUs within one run, or runs that were kept out of their series for theirs."""
    mixed = []
    for run in evidence.runs:
        kinds = sorted(set(run.devices))
        clauses = [f"GPU model: {' + '.join(kinds)}"] if len(kinds) > 1 else list(differences_of(run.machine))
        if clauses and run.timed:
            mixed.append(f"{evidence.name(run)} ({some(clauses, 2)})")
    if mixed:
        yield Finding(
            rule="unlike GPUs",
            claims=(Claim.THROUGHPUT, Claim.COMMUNICATION),
            sentence=f"{plural(len(mixed), 'run mixes|runs mix')} GPUs, and every step waits for the slowest: "
            f"{some(mixed, 3, separator='; ')}",
            advice="compare runs on one kind of GPU, with a baseline of each kind",
        )
    for series in evidence.series:
        excluded = [apart for apart in series.apart if "unlike GPUs" in apart.reason]
        if excluded:
            yield Finding(
                rule="unlike GPUs",
                claims=(Claim.THROUGHPUT,),
                where=series.label,
                sentence=f"{plural(len(excluded), 'run is|runs are')} in no speedup: {_reasons_of(excluded, evidence)}",
                advice="run all GPU counts on one kind of GPU",
            )


def runs_apart(evidence: Evidence) -> Iterator[Finding]:
    """Repeats on another machine than most: they are in no mean, and by how much they differ is told."""
    for series in evidence.series:
        out = [apart for apart in series.apart if "unlike GPUs" not in apart.reason and apart.run.timed]
        if out:
            yield Finding(
                rule="runs apart",
                claims=(Claim.THROUGHPUT, Claim.SMALL_DIFFERENCES),
                where=series.label,
                sentence=f"{plural(len(out), 'run is|runs are')} in no mean and no speedup: "
                f"{_reasons_of(out, evidence)}",
                advice="repeat them on machines like the others'",
            )


def _reasons_of(out: Sequence[Apart], evidence: Evidence) -> str:
    return some((f"{evidence.name(apart.run)}: {apart.reason}" for apart in out), 2, separator="; ")


def conditions_not_stated(evidence: Evidence) -> Iterator[Finding]:
    """A condition that some runs name and others do not: nobody knows what may be compared."""
    names = {name for run in evidence.runs for name, _ in run.conditions}
    missing = []
    for name in sorted(names):
        without = sum(1 for run in evidence.runs if not run.condition(name))
        if without:
            missing.append(f"{name} of {without} of {len(evidence.runs)} runs")
    if not missing:
        return
    yield Finding(
        rule="conditions not stated",
        claims=(Claim.THROUGHPUT, Claim.SMALL_DIFFERENCES),
        sentence=f"some runs do not state what others state: {some(missing)}; they make series of their own",
        advice="fill the column for every run",
    )


def disturbed_runs(evidence: Evidence) -> Iterator[Finding]:
    """Runs whose own record gives reasons to distrust them: throttled, other processes, a slow rank, no core each."""
    disturbed = [
        f"{evidence.name(run)}: {some(run.flags, 2)}" for run in evidence.runs if run.timed and _reasons(run.flags)
    ]
    crowded = [evidence.name(run) for run in evidence.runs if run.timed and run.oversubscribed]
    if disturbed:
        yield Finding(
            rule="disturbed runs",
            claims=(Claim.THROUGHPUT, Claim.SMALL_DIFFERENCES),
            weakens=(Claim.FIXED_PROBLEM, Claim.TIME_TO_ACCURACY, Claim.COMMUNICATION),  # they are of times too
            sentence=f"{plural(len(disturbed), 'run says|runs say')} what disturbed the times: "
            f"{some(disturbed, 3, separator='; ')}",
            advice="repeat them on other nodes (exclude the named ones), or when nobody else uses these",
        )
    if crowded:
        yield Finding(
            rule="more ranks than cores",
            claims=(Claim.THROUGHPUT,),
            sentence=f"fewer cores than ranks, so in no speedup: {plural(len(crowded), 'run')}, "
            f"{some(crowded, separator='; ')}",
            advice="give every rank a core",
        )


def _reasons(flags: tuple[str, ...]) -> bool:
    # Missing rows have a rule of their own, and unlike GPUs too.
    return any(not flag.startswith(("rows missing", "unlike GPUs")) for flag in flags)
