"""Step times without disturbing the steps: events on CUDA, a monotonic clock on CPU."""

import itertools
import time

import torch


class StepClock:
    """Marks the ends of steps; on CUDA nothing is synchronised until the times are read."""

    def __init__(self, device: torch.device) -> None:
        """Measure on `device`."""
        self._cuda = device.type == "cuda"
        self._events: list[torch.cuda.Event] = []
        self._times: list[float] = []

    def mark(self) -> None:
        """Note the end of a step (the first mark: the start of the first step)."""
        if self._cuda:
            event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch's own gap
            event.record()
            self._events.append(event)
        else:
            self._times.append(time.perf_counter())

    def read_ms(self) -> list[float]:
        """Return the milliseconds between marks and forget them; waits for the device once."""
        if self._cuda:
            torch.cuda.synchronize()
            marks = self._events
            steps = [a.elapsed_time(b) for a, b in itertools.pairwise(marks)]
        else:
            steps = [1000 * (b - a) for a, b in itertools.pairwise(self._times)]
        self._events, self._times = [], []
        return [round(step, 3) for step in steps]
