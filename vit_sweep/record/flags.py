"""What a run's machine makes of its figures: flags, who was slow, joules. Pure."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from launchers.text import plural, some
from vit_sweep.plan.cell import oversubscribed
from vit_sweep.record.breakdown import Phases, StepBreakdown
from vit_sweep.record.machine import HostTime, Samples, unlike_gpus
from vit_sweep.record.record import Record
from vit_sweep.record.stats import breakdown, counted, epoch_time
from vit_sweep.record.stragglers import Explanation, RankTimes, explain, links, names

THROTTLED = 0.05
"""Part of the training time with the clock held down from which on a run is flagged."""
POWER_CAP = "power_cap"
"""The reason that is no reason: a GPU at work runs as fast as its power limit lets it, run after run."""
CONTENDED_HOST = "host contended"
"""How the flag of a run begins whose ranks waited for cores that others had."""
CONTENDED = 0.05
"""Part of the timed steps for which a rank could have run and had no core from which on a run is flagged."""


def flags_of(record: Record, why: Explanation | None = None) -> tuple[str, ...]:
    """One clause per reason to distrust a run's times; empty for a clean run, and for one whose machine is unknown.

    `why`: its `explanation`, where that is known already.
    """
    gpus = [(rank, rank.gpu) for rank in record.machine if rank.gpu is not None]
    shared = [
        f"rank {rank.rank} on {rank.host} ({gpu.other_processes}{_mib(gpu.other_mib)})"
        for rank, gpu in gpus
        if gpu.other_processes
    ]
    sliced = [f"rank {rank.rank} on {rank.host}" for rank, gpu in gpus if gpu.mig]
    hosts = {rank.rank: rank.host for rank in record.machine}
    held = [
        f"rank {samples.rank}{_on(hosts.get(samples.rank))} ({_throttled(samples)})"
        for samples in record.samples
        if samples.seconds and throttled_s(samples) > THROTTLED * samples.seconds
    ]
    clauses = [f"unlike GPUs in one job: {clause}" for clause in unlike_gpus(record.machine)]
    titles = {
        "other processes on the GPU": shared,
        "throttled": held,
        "MIG": sliced,
        CONTENDED_HOST: _contended(record),
        "suspended": _suspended(record),
        "compiled in timed steps": _compiled(record),
    }
    for title, ranks in titles.items():
        if ranks:
            clauses.append(f"{title}: {some(ranks, 3)}")
    why = why or explanation(record)
    for title, slow in {"slow": why.slow_ranks, "slow link": why.slow_links}.items() if why else ():
        if slow:
            clauses.append(f"{title}: {names(slow)}")
    return tuple(clauses)


def throttled_s(samples: Samples) -> float:
    """Seconds with the clock held down for another reason than the power limit; several may hold at once."""
    longest = max((s for reason, s in samples.throttled_s_by_reason if reason != POWER_CAP), default=0.0)
    return longest if samples.throttled_s_by_reason else samples.throttled_s


class Wait(NamedTuple):
    """What a rank waited for a core, over the epochs that count."""

    share: float | None
    """Part of the timed steps for which it could run and had none; None where the kernel does not say."""
    load: float | None
    """Most load average of its host at the end of one of them."""


def waits_by_rank(record: Record) -> tuple[Wait, ...]:
    """How long each rank waited for a core; empty where that was not recorded."""
    epochs = [epoch.host_by_rank for epoch in counted(record)]
    return tuple(_wait(ranks) for ranks in zip(*epochs, strict=True)) if epochs and all(epochs) else ()


def _wait(epochs: Sequence[HostTime]) -> Wait:
    seconds = sum(host.seconds for host in epochs)
    waited_s = [host.waited_s for host in epochs if host.waited_s is not None]
    share = sum(waited_s) / seconds if len(waited_s) == len(epochs) and seconds else None
    return Wait(share, max((host.load for host in epochs if host.load is not None), default=None))


def slowest_clock_mhz(record: Record) -> float | None:
    """Least over ranks of the median SM clock while it trained; None where no GPU said it."""
    return min((s.sm_clock_mhz.median for s in record.samples if s.sm_clock_mhz), default=None)


def _contended(record: Record) -> list[str]:
    """Ranks that waited for a core which somebody else had; not where the run's own ranks are more than its cores."""
    if oversubscribed(record.requested, min(rank.host_cores for rank in record.ranks)):
        return []
    # A load is of the whole host, whichever of its cores the ranks may use.
    cores = {machine.rank: machine.host_cores for machine in record.machine}
    return [
        f"rank {rank.rank} on {rank.host} (no core for {wait.share:.0%} of the time, load {wait.load:.1f} "
        f"on {plural(cores.get(rank.rank) or rank.host_cores, 'core')})"
        for rank, wait in zip(record.ranks, waits_by_rank(record), strict=False)
        if wait.share is not None and wait.share > CONTENDED
    ]


def _compiled(record: Record) -> list[str]:
    """Epochs that count in which torch.compile compiled: their steps hold its seconds."""
    graphs = {epoch.epoch: max((c.graphs for c in epoch.compiled_by_rank), default=0) for epoch in counted(record)}
    return [f"epoch {epoch} ({plural(count, 'graph')})" for epoch, count in graphs.items() if count]


def _suspended(record: Record) -> list[str]:
    """Epochs in which the process stood still; their times do not count."""
    stops = {epoch.epoch: max((host.stopped_s for host in epoch.host_by_rank), default=0.0) for epoch in record.epochs}
    return [f"epoch {epoch} ({stopped_s:.0f} s)" for epoch, stopped_s in stops.items() if stopped_s]


def rank_times(record: Record, step_breakdown: StepBreakdown | None = None) -> tuple[RankTimes, ...]:
    """What each rank's typical step consists of, with its link; empty where that was not measured.

    ZeRO 1 to 3 communicate within backward and optimizer: there the profiled window says how long.
    `step_breakdown`: the run's, where that is known already.
    """
    step_breakdown = step_breakdown or breakdown(record)
    window = record.breakdown.collective if record.breakdown is not None else None
    if step_breakdown is None:
        return ()
    hosts = [rank.host for rank in record.ranks]
    speeds: tuple[float | None, ...] = (None,) * len(hosts)
    if len(record.preflight) == len(hosts):
        speeds = links(hosts, [probe.to_next_gb_per_s for probe in record.preflight])
    times = [
        _times(rank, host, phases, None if window is None else window.ms_by_rank[rank], speed)
        for rank, (host, phases, speed) in enumerate(zip(hosts, step_breakdown.by_rank, speeds, strict=True))
    ]
    return tuple(time for time in times if time is not None) if None not in times else ()


def explanation(record: Record, step_breakdown: StepBreakdown | None = None) -> Explanation | None:
    """What takes the steps beyond a typical rank's own work; None for one rank, and where it was not measured."""
    why = explain(rank_times(record, step_breakdown)) if record.resolved.gpus > 1 else None
    if why is None or not _contended(record):
        return why
    return replace(why, sentence=f"{why.sentence}; others used the host, and waiting for a core is in all of this")


def joules_per_image(record: Record) -> float | None:
    """Mean power of all GPUs while training x median epoch time / images of an epoch, host and network left out.

    None unless every rank's GPU said what it used.
    """
    powers = _powers_w(record)
    return sum(powers) * epoch_time(record).median_s / record.epochs[-1].images if powers else None


def least(record: Record, rate: str) -> float | None:
    """Over ranks, of a rate of the preflight by its name; None where no rank measured it."""
    return min((value for probe in record.preflight if (value := getattr(probe, rate)) is not None), default=None)


def machine_columns(record: Record) -> dict[str, float | str | None]:
    """What a table says of a run's machine; None where it is not known. Over ranks: the slowest; the sum of watts."""
    powers, waits = _powers_w(record), waits_by_rank(record)
    return {
        "power_w": sum(powers) if powers else None,
        "sm_clock_mhz": slowest_clock_mhz(record),
        "throttled": max((throttled_s(s) / s.seconds for s in record.samples if s.seconds), default=None),
        "host_waited": max((wait.share for wait in waits if wait.share is not None), default=None),
        "host_load": max((wait.load for wait in waits if wait.load is not None), default=None),
        "matmul_tflops": least(record, "matmul_tflops"),
        "memory_gb_per_s": least(record, "memory_gb_per_s"),
        "all_reduce_bus_gb_per_s": min(
            (p.largest.bus_gb_per_s(record.resolved.gpus) for p in record.preflight if p.largest), default=None
        ),
        "preflight_notes": "; ".join(dict.fromkeys(probe.note for probe in record.preflight if probe.note)) or None,
    }


def _times(
    rank: int, host: str, phases: Phases, profiled_ms: float | None, link_gb_per_s: float | None
) -> RankTimes | None:
    work, communication = phases.compute - phases.data_wait, phases.communication
    if communication is None:
        if profiled_ms is None:
            return None
        work, communication = max(0.0, work - profiled_ms), profiled_ms
    return RankTimes(
        rank=rank,
        host=host,
        compute_ms=work,
        communication_ms=communication,
        data_ms=phases.data_wait,
        link_gb_per_s=link_gb_per_s,
    )


def _powers_w(record: Record) -> list[float]:
    """Mean power of each GPU while training; empty unless all are known."""
    powers = [s.energy_j / s.seconds for s in record.samples if s.energy_j is not None and s.seconds]
    return powers if len(powers) == record.resolved.gpus else []


def _throttled(samples: Samples) -> str:
    reasons = ", ".join(reason for reason, seconds in samples.throttled_s_by_reason if seconds and reason != POWER_CAP)
    return f"{throttled_s(samples) / samples.seconds:.0%} of the time: {reasons}"


def _mib(mib: float | None) -> str:
    return "" if mib is None else f" with {mib:.0f} MiB"


def _on(host: str | None) -> str:
    return f" on {host}" if host else ""
