"""Times of steps and of their phases without disturbing the steps: events on CUDA, a monotonic clock on CPU."""

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from vit_sweep.record.breakdown import Phase, RankPhases, rank_phases

_MICRO = (Phase.DATA_WAIT, Phase.COPY, Phase.FORWARD, Phase.BACKWARD)


def phases_of_step(accum: int, *, communication: bool) -> tuple[Phase, ...]:
    """Which phase ends at each mark of an optimizer step; `communication`: the reduction is a phase of its own."""
    boundary = (Phase.COMMUNICATION, Phase.OPTIMIZER) if communication else (Phase.OPTIMIZER,)
    return (*_MICRO, Phase.OTHER) * (accum - 1) + (*_MICRO, *boundary, Phase.OTHER)


class Marks(Protocol):
    """Moments on a device's time line."""

    def mark(self) -> None:
        """Note this moment."""

    def gaps_ms(self) -> list[float]:
        """Milliseconds between the moments, which are forgotten; may wait for the device."""


class StepClock:
    """Takes the times of equal steps, each a fixed sequence of phases."""

    def __init__(self, marks: Marks, step: Sequence[Phase]) -> None:
        """A step ends each of the phases of `step` with one mark."""
        self._marks, self._step = marks, tuple(step)
        self.mark: Callable[[], None] = marks.mark
        """End a phase (the first mark: begin the first step)."""

    def read(self) -> tuple[list[float], RankPhases | None]:
        """Return each step's milliseconds and the phases of them all (None: no step), and forget them."""
        gaps = iter(self._marks.gaps_ms())
        steps: list[dict[Phase, float]] = []
        # A step that was broken off has fewer marks and is not one.
        while len(step_gaps := list(itertools.islice(gaps, len(self._step)))) == len(self._step):
            times = dict.fromkeys(self._step, 0.0)
            for phase, ms in zip(self._step, step_gaps, strict=True):
                times[phase] += ms
            steps.append(times)
        return [round(sum(times.values()), 3) for times in steps], rank_phases(steps) if steps else None


def marks_of(device: torch.device) -> Marks:
    """The marks of a device."""
    return DeviceMarks() if device.type == "cuda" else HostMarks()


class HostMarks:
    """Moments of the host's monotonic clock: on a CPU device the work is done when the call returns."""

    def __init__(self) -> None:
        self._times: list[float] = []

    def mark(self) -> None:
        """Note this moment."""
        self._times.append(time.perf_counter())

    def gaps_ms(self) -> list[float]:
        """Milliseconds between the moments, which are forgotten."""
        times, self._times = self._times, []
        return [1000 * (after - before) for before, after in itertools.pairwise(times)]


class DeviceMarks:
    """Events on the current CUDA stream. Nothing waits for the device until they are read; they are used again."""

    def __init__(self) -> None:
        self._events: list[torch.cuda.Event] = []
        self._used = 0

    def mark(self) -> None:
        """Let the device note when it comes by here."""
        if self._used == len(self._events):
            self._events.append(torch.cuda.Event(enable_timing=True))  # type: ignore[no-untyped-call]  # torch's own gap
        self._events[self._used].record()
        self._used += 1

    def gaps_ms(self) -> list[float]:
        """Milliseconds between the moments, which are forgotten; waits for the device once."""
        torch.cuda.synchronize()
        used, self._used = self._events[: self._used], 0
        return [before.elapsed_time(after) for before, after in itertools.pairwise(used)]


class NoMarks:
    """Takes no times at all: the loop that benchmarks compare with."""

    def mark(self) -> None:
        """Do nothing."""

    def gaps_ms(self) -> list[float]:
        """Nothing was noted."""
        return []
