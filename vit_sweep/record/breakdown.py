"""Where the time of a step goes, and what communication costs: the types and their formulas. Pure.

How each quantity is taken, and where it stops being true, is said in docs/results/measuring.md.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from math import comb
from operator import attrgetter
from statistics import median

from launchers.checked import Quantity, Signed, Whole, checked
from launchers.profile import Count
from vit_sweep.plan.predict import ring
from vit_sweep.plan.predict.vit import forward_flop, train_flop
from vit_sweep.plan.predict.vit import parameters as model_parameters
from vit_sweep.plan.specs import ModelSpec
from vit_sweep.record.counts import CollectiveKind, StepCounts

Milliseconds = Quantity
_Times = tuple[float | None, ...]
"""Milliseconds by phase, in the order of `Phase`; None: not taken apart from another one."""


class Phase(StrEnum):
    """The parts of an optimizer step, in the order in which a micro step walks through them."""

    DATA_WAIT = "data_wait"
    """Waiting for the next micro batch."""
    COPY = "copy"
    """Copying it to the device, and preparing it there: gather, augment, resize, normalise."""
    FORWARD = "forward"
    """The model and the loss."""
    BACKWARD = "backward"
    """The gradients. With ZeRO 1 to 3 the reduction too, which DeepSpeed does inside."""
    COMMUNICATION = "communication"
    """The reduction of the gradients (ZeRO 0): flatten, all-reduce, copy back. Waiting for slower ranks is in it."""
    OPTIMIZER = "optimizer"
    """The update of the weights. With ZeRO 1 to 3 the gathering of what other ranks updated too."""
    OTHER = "other"
    """What is left: the loop's own bookkeeping and the sums of loss and accuracy."""


_NAMES = tuple(phase.value for phase in Phase)
_TIMES = attrgetter(*_NAMES)
_REDUCTION = _NAMES.index(Phase.COMMUNICATION)


@checked
class Phases:
    """Milliseconds by phase, of one rank. They add up to its steps: every moment of a step is in exactly one."""

    data_wait: Milliseconds
    copy: Milliseconds
    forward: Milliseconds
    backward: Milliseconds
    communication: Milliseconds | None
    """None: not taken apart from `backward`."""
    optimizer: Milliseconds
    other: Milliseconds

    @property
    def compute(self) -> float:
        """What this rank does without the others: all but communication."""
        return self.data_wait + self.copy + self.forward + self.backward + self.optimizer + self.other


@checked
class RankPhases:
    """Where the steps of one rank in one epoch went. Accumulated micro steps are summed into their step."""

    steps: Count
    sum_ms: Phases
    """Over all steps of the epoch."""
    median_ms: Phases
    """Of a step: the median of each phase over the steps. Medians need not add up."""


@checked
class StepBreakdown:
    """Where a step goes in steady state, over the ranks."""

    by_rank: tuple[Phases, ...]
    """The median over the epochs that count of each rank's medians."""
    most: Phases
    """Per phase the most over ranks: a rank that is slow somewhere shows there."""
    slowest_rank: int
    """The rank that computes longest, for which others wait."""
    slowest: Phases
    """Of its steps the means, over the epochs that count: they add up to its mean step, which medians need not."""
    least_communication: float | None
    """Of the means of the ranks' reductions the least: what `slowest` spends beyond it is waiting of its own."""

    @property
    def communication_ms(self) -> float | None:
        """The least over ranks: the last rank to arrive waits for nobody, so its reduction is communication alone."""
        return min(times, default=None) if (times := self._communication) is not None else None

    @property
    def straggler_wait_ms(self) -> float | None:
        """max - min of the reduction over ranks: how long the first rank to arrive waits for the last."""
        return max(times) - min(times) if (times := self._communication) is not None else None

    @property
    def compute_ms_by_rank(self) -> tuple[float, ...]:
        """All phases of each rank but communication: what tells a slow rank from one that waits."""
        return tuple(phases.compute for phases in self.by_rank)

    @property
    def _communication(self) -> list[float] | None:
        return _communication(self.by_rank)


@checked
class Exposed:
    """Communication that no computation hides: steps with the collectives minus steps without them.

    Steps run in blocks, the blocks in rounds; a round holds two blocks with collectives (`first`, `second`) and one
    without, in seeded order. A block's time is the most over ranks, from a barrier.
    """

    first_ms: Quantity
    """Step with collectives: median over rounds of a block's time / its steps."""
    second_ms: Quantity
    """The same again: the A/A control."""
    with_ms: Quantity
    """Median over the blocks of both kinds."""
    without_ms: Quantity
    """Likewise of the blocks without collectives."""
    rounds: Count
    block_steps: Count
    differences_ms: tuple[Signed, ...] = ()
    """By round: (first + second) / 2 - without. What drifts over the rounds drops out. Empty in old records."""

    @property
    def exposed_ms(self) -> float:
        """Median over the rounds of their differences; with - without where they were not kept."""
        return median(self.differences_ms) if self.differences_ms else self.with_ms - self.without_ms

    @property
    def interval_ms(self) -> tuple[float, float] | None:
        """Interval that holds the median difference in at least 95 % of all cases; None with fewer than 6 rounds."""
        return median_interval(self.differences_ms)

    @property
    def is_nothing(self) -> bool:
        """Whether the interval reaches to zero or lies below: no exposed communication was seen."""
        return self.interval_ms is not None and self.interval_ms[0] <= 0


@checked
class Collective:
    """The collectives of a step, from a profiled window: how long they last on every rank, and what they move."""

    steps: Count
    kinds: tuple[CollectiveKind, ...]
    ms_by_rank: tuple[Quantity, ...]
    """Per step: summed durations of all collectives, waiting included."""
    pure_ms: Quantity
    """Per step: each collective's least duration over ranks, summed."""

    @property
    def bytes(self) -> float:
        """Per step, over all kinds."""
        return sum(kind.bytes for kind in self.kinds)

    @property
    def all_reduced_bytes(self) -> float | None:
        """Per step: what all-reduces that load a link as much would reduce; None of one rank.

        By bus factors: an all-gather or a reduce-scatter counts half.
        """
        ranks = len(self.ms_by_rank)
        if ranks < 2:
            return None
        return sum(ring.bus_factor(kind.name, ranks) * kind.bytes for kind in self.kinds) / ring.traffic(ranks)

    @property
    def all_reduced_calls(self) -> float | None:
        """Per step: the all-reduces that send as many messages; None of one rank. Halves as for bytes."""
        ranks = len(self.ms_by_rank)
        if ranks < 2:
            return None
        return sum(ring.bus_factor(kind.name, ranks) * kind.calls for kind in self.kinds) / ring.traffic(ranks)

    @property
    def straggler_wait_ms(self) -> float:
        """max over ranks - pure: how long the rank that waits most waits for others in a step."""
        return max(self.ms_by_rank) - self.pure_ms

    @property
    def algorithm_gb_per_s(self) -> float | None:
        """S / t: bytes of a step over the pure time of its collectives (nccl-tests, PERFORMANCE.md)."""
        return self.bytes / self.pure_ms / 1e6 if self.pure_ms > 0 else None

    @property
    def bus_gb_per_s(self) -> float | None:
        """Sum over kinds of factor x S, over t: comparable with a link's speed whatever the number of ranks."""
        moved = sum(ring.bus_factor(kind.name, len(self.ms_by_rank)) * kind.bytes for kind in self.kinds)
        return moved / self.pure_ms / 1e6 if self.pure_ms > 0 else None


@checked
class CountedFlop:
    """One forward of a micro batch as DeepSpeed's profiler counts it, beside this project's own formulas."""

    images: Count
    """Of the micro batch."""
    flop: Quantity
    """Operations, a multiply-add being two: the profiler's count, with norms and activation functions."""
    macs: Quantity
    """Its multiply-adds."""
    formula_flop: Quantity
    """`vit.forward_flop` x images: what MFU rests on."""
    flop_ratio: Quantity
    """flop / formula_flop."""
    parameters: Whole
    """Those that the profiler saw on rank 0: with ZeRO 3 the part that this rank holds outside of a forward."""
    formula_parameters: Whole
    """`vit.parameters`: of the whole model."""
    file: str
    """Name of the profiler's text, in the attempt's folder."""

    @property
    def sentence(self) -> str:
        """The comparison for people."""
        counted = f"DeepSpeed counts {self.flop:.6g} FLOP and {self.parameters} parameters"
        formulas = f"the formulas behind mfu say {self.formula_flop:.6g} and {self.formula_parameters}"
        return f"Forward of {self.images} images: {counted}, {formulas}; FLOP ratio {self.flop_ratio:.4f}"


@checked
class Breakdown:
    """What was measured after the training, beside the timed epochs."""

    exposed: Exposed | None = None
    """None for one rank, and where `notes` says why."""
    collective: Collective | None = None
    trace: str | None = None
    """Name of the Chrome trace of rank 0's profiled window, in the attempt's folder."""
    comms: str | None = None
    """Name of the text of DeepSpeed's communication logger, in the attempt's folder."""
    flop: CountedFlop | None = None
    """What DeepSpeed's FLOPs profiler counted."""
    moved_bytes: Quantity | None = None
    """Per step of rank 0: what its operations read and write in the device's memory, each on its own; caches and fused
    kernels save some of it."""
    counts: StepCounts | None = None
    """What a step consists of; None in older records, and where `notes` says why."""
    notes: tuple[str, ...] = ()
    """Why something is missing."""


def exposed(first: Sequence[float], second: Sequence[float], without: Sequence[float], *, block_steps: int) -> Exposed:
    """Combine the rounds: milliseconds of a step in the round's two blocks with collectives and its one without."""
    differences = [(a + b) / 2 - c for a, b, c in zip(first, second, without, strict=True)]
    return Exposed(
        first_ms=round(median(first), 3),
        second_ms=round(median(second), 3),
        with_ms=round(median([*first, *second]), 3),
        without_ms=round(median(without), 3),
        rounds=len(differences),
        block_steps=block_steps,
        differences_ms=tuple(round(ms, 4) for ms in differences),
    )


def median_interval(values: Sequence[float], coverage: float = 0.95) -> tuple[float, float] | None:
    """The narrowest pair of order statistics that holds the median with at least this probability, None if none does.

    Free of assumptions on the distribution: the k-th smallest and the k-th largest of n miss the median with
    2 P(Binomial(n, 1/2) < k) (Thompson 1936). From 6 values on at 95 %.
    """
    n = len(values)
    missed, k = 0.0, 0
    while k < n // 2 and missed + 2 * comb(n, k) / 2**n <= 1 - coverage:
        missed += 2 * comb(n, k) / 2**n
        k += 1
    ordered = sorted(values)
    return (ordered[k - 1], ordered[n - k]) if k else None


def rank_phases(steps: Sequence[Mapping[Phase, float]]) -> RankPhases:
    """Summarise the steps of one rank; a phase that is in no step was not taken apart (None)."""
    by_phase = {phase: [step[phase] for step in steps] for phase in steps[0]}
    return RankPhases(
        steps=len(steps),
        sum_ms=_phases({phase: sum(times) for phase, times in by_phase.items()}),
        median_ms=_phases({phase: median(times) for phase, times in by_phase.items()}),
    )


def step_breakdown(epochs: Sequence[Sequence[RankPhases]]) -> StepBreakdown | None:
    """Combine epochs (each: one entry per rank) into one breakdown; None without any."""
    if not epochs or not all(epochs):
        return None
    of_ranks = list(zip(*epochs, strict=True))
    by_rank = tuple(_named(_combined([rank.median_ms for rank in ranks], _middle)) for ranks in of_ranks)
    # Of one rank its phases are asked for below: to make and check them for all takes as long as the rest of it.
    means = [_mean(ranks) for ranks in of_ranks]
    slowest = max(range(len(means)), key=lambda rank: _compute(means[rank]))
    reductions = [ms for times in means if (ms := times[_REDUCTION]) is not None]
    return StepBreakdown(
        by_rank=by_rank,
        most=_named(_combined(by_rank, max)),
        slowest_rank=slowest,
        slowest=_named(means[slowest]),
        least_communication=min(reductions) if len(reductions) == len(means) else None,
    )


def collective(durations: Sequence[Sequence[float]], kinds: Sequence[CollectiveKind], steps: int) -> Collective | None:
    """Combine what ranks saw in `steps` steps: `durations` in ms by rank, in the order of the calls.

    Ranks issue the same collectives in the same order, so the i-th of all ranks is one collective. Where their
    numbers differ (a profiler may lose events), the pure time is the least of the ranks' sums. None where a rank saw
    none.
    """
    if not durations or not all(durations):
        return None
    sums = [sum(times) for times in durations]
    aligned = len({len(times) for times in durations}) == 1
    pure = sum(min(same) for same in zip(*durations, strict=True)) if aligned else min(sums)
    return Collective(
        steps=steps,
        kinds=tuple(kinds),
        ms_by_rank=tuple(round(total / steps, 4) for total in sums),
        pure_ms=round(pure / steps, 4),
    )


def counted_flop(
    model: ModelSpec, classes: int, *, images: int, flop: float, macs: float, parameters: int, file: str
) -> CountedFlop:
    """Put a profiler's count of one forward of `images` beside the formulas."""
    formula = forward_flop(model, classes) * images
    return CountedFlop(
        images=images,
        flop=flop,
        macs=macs,
        formula_flop=formula,
        flop_ratio=round(flop / formula, 6),
        parameters=parameters,
        formula_parameters=model_parameters(model, classes),
        file=file,
    )


def mfu(model: ModelSpec, classes: int, *, images_per_s: float, gpus: int, peak_tflops: float | None) -> float | None:
    """Model FLOPs utilisation: train FLOPs per image x images/s / (peak x GPUs); None without a peak.

    Train FLOPs are three forwards (`vit.train_flop`), never more with recomputation (PaLM, Chowdhery et al. 2022).
    """
    if peak_tflops is None:
        return None
    return train_flop(model, classes) * images_per_s / (peak_tflops * 1e12 * gpus)


def _communication(ranks: Sequence[Phases]) -> list[float] | None:
    """By rank; None where one of them has not taken it apart."""
    communication = [phases.communication for phases in ranks if phases.communication is not None]
    return communication if len(communication) == len(ranks) else None


def _mean(epochs: Sequence[RankPhases]) -> _Times:
    """Of a step of one rank, over all steps of the epochs."""
    steps = sum(epoch.steps for epoch in epochs)
    return _combined([epoch.sum_ms for epoch in epochs], lambda times: sum(times) / steps)


def _phases(times: Mapping[Phase, float]) -> Phases:
    rounded = {phase.value: round(ms, 3) for phase, ms in times.items()}
    return Phases(**({Phase.COMMUNICATION.value: None} | rounded))  # type: ignore[arg-type]  # by name


def _combined(phases: Sequence[Phases], reduce: Callable[[Sequence[float]], float]) -> _Times:
    by_phase = zip(*map(_TIMES, phases), strict=True)
    return tuple([None if None in times else round(reduce(times), 3) for times in by_phase])


def _named(times: _Times) -> Phases:
    return Phases(**dict(zip(_NAMES, times, strict=True)))  # type: ignore[arg-type]  # None is only ever a reduction


def _compute(times: _Times) -> float:
    """As `Phases.compute`, to the last bit."""
    data_wait, copy, forward, backward, _, optimizer, other = times
    return data_wait + copy + forward + backward + optimizer + other  # type: ignore[operator]  # likewise


def _middle(times: Sequence[float]) -> float:
    """The median; most runs have one or two epochs that count."""
    match len(times):
        case 1:
            return times[0]
        case 2:
            return (times[0] + times[1]) / 2
    return median(times)
