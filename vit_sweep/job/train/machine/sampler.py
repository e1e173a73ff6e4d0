"""A rank's GPU while it trains: a thread that asks NVML once a second and keeps counts, not lists.

Nothing of it is in the timed path: NVML's calls let the training's thread run, and whether it trains is read from the
model's own mode. Only moments between two samples of the same epoch count.
"""

import threading
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from itertools import accumulate

from vit_sweep.job.train.machine.nvml import CORE_TEMPERATURE, SM_CLOCK, NvmlGpu
from vit_sweep.record.machine import EnergySource, Samples, Spread

PERIOD_S = 1.0
REASONS = {
    0x04: "power_cap",
    0x08: "hardware_slowdown",
    0x10: "sync_boost",
    0x20: "thermal_software",
    0x40: "thermal_hardware",
    0x80: "power_brake",
}
"""Bits of NVML's clock event reasons that mean: slower than the GPU could be. The others are an idle GPU's low clock
and clocks that someone has set."""

Training = Callable[[], int | None]
"""The epoch whose steps run at this moment; None: none does."""


class Sampler:
    """Samples from `with` to its end; `samples` then says what was seen."""

    def __init__(self, rank: int, gpu: NvmlGpu | None, training: Training, *, cold: int | None = None) -> None:
        """Without a `gpu` it does nothing. `cold` is the epoch to leave out if there are samples of others."""
        self._rank, self._gpu, self._training, self._cold = rank, gpu, training, cold
        self._tallies: dict[bool, _Tally] = {}
        self._before: _Reading | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "Sampler":
        if self._gpu is not None:
            self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End; a call into the driver that does not return is left alone."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=2 * PERIOD_S)

    @property
    def samples(self) -> Samples | None:
        """What was seen of the steady epochs, else of the cold one; None if nothing was."""
        tally = self._tallies.get(False) or self._tallies.get(True)
        return None if tally is None else tally.summary(self._rank)

    def tick(self, now: float) -> None:
        """Take one sample at the monotonic time `now`, in seconds."""
        epoch, previous = self._training(), self._before
        self._before = None if epoch is None or self._gpu is None else _Reading(self._gpu, epoch, now)
        if self._before is None or epoch is None:
            return
        tally = self._tallies.setdefault(epoch == self._cold, _Tally())
        tally.add(self._before)
        if previous is not None and previous.epoch == epoch:
            tally.add_interval(previous, self._before)

    def _run(self) -> None:
        while not self._stop.is_set():
            self.tick(time.monotonic())
            self._stop.wait(PERIOD_S)


class _Reading:
    """What NVML says at one moment."""

    def __init__(self, gpu: NvmlGpu, epoch: int, now: float) -> None:
        self.epoch, self.now = epoch, now
        self.energy_mj: int | None = gpu.query("TotalEnergyConsumption")
        self.power_mw: int | None = gpu.query("PowerUsage")
        self.clock_mhz: int | None = gpu.query("ClockInfo", SM_CLOCK)
        self.temperature_c: int | None = gpu.query("Temperature", CORE_TEMPERATURE)
        rates = gpu.query("UtilizationRates")
        self.utilisation_percent: int | None = None if rates is None else rates.gpu
        bits = gpu.query("CurrentClocksEventReasons")
        if bits is None:  # a library before 2023
            bits = gpu.query("CurrentClocksThrottleReasons")
        self.reasons = [name for bit, name in REASONS.items() if (bits or 0) & bit]


class _Tally:
    """How often each value was seen: its size does not grow with the length of a run."""

    def __init__(self) -> None:
        self._count = 0
        self._clock, self._power, self._temperature, self._utilisation = (Counter[int]() for _ in range(4))
        self._seconds = self._throttled_s = 0.0
        self._by_reason = dict.fromkeys(REASONS.values(), 0.0)
        self._counted_j = self._power_j = 0.0
        self._counted_s = self._power_s = 0.0

    def add(self, reading: _Reading) -> None:
        """Count one moment."""
        self._count += 1
        for counter, value in (
            (self._clock, reading.clock_mhz),
            (self._power, None if reading.power_mw is None else round(reading.power_mw / 1000)),
            (self._temperature, reading.temperature_c),
            (self._utilisation, reading.utilisation_percent),
        ):
            if value is not None:
                counter[value] += 1

    def add_interval(self, before: _Reading, after: _Reading) -> None:
        """Count the time between two moments of training: throttled if it was at its end, energy by both ends."""
        seconds = after.now - before.now
        self._seconds += seconds
        self._throttled_s += seconds if after.reasons else 0.0
        for reason in after.reasons:
            self._by_reason[reason] += seconds
        if before.energy_mj is not None and after.energy_mj is not None and after.energy_mj >= before.energy_mj:
            self._counted_j += (after.energy_mj - before.energy_mj) / 1000
            self._counted_s += seconds
        if before.power_mw is not None and after.power_mw is not None:
            self._power_j += (before.power_mw + after.power_mw) / 2000 * seconds
            self._power_s += seconds

    def summary(self, rank: int) -> Samples:
        """All of it in a few numbers."""
        energy_j, source = self._energy()
        return Samples(
            rank=rank,
            count=self._count,
            seconds=round(self._seconds, 3),
            sm_clock_mhz=_spread(self._clock),
            power_w=_spread(self._power),
            temperature_c=_spread(self._temperature),
            utilisation=_spread(self._utilisation, 100),
            throttled_s=round(self._throttled_s, 3),
            throttled_s_by_reason=tuple(
                (name, round(seconds, 3)) for name, seconds in self._by_reason.items() if seconds
            ),
            energy_j=energy_j,
            energy_from=source,
        )

    def _energy(self) -> tuple[float | None, EnergySource | None]:
        """Joules over all of the training time; intervals without an answer are taken to be like the others."""
        for joules, known_s, source in (
            (self._counted_j, self._counted_s, EnergySource.COUNTER),
            (self._power_j, self._power_s, EnergySource.POWER),
        ):
            if known_s:
                return round(joules * self._seconds / known_s, 3), source
        return None, None


def _spread(counts: Counter[int], unit: float = 1) -> Spread | None:
    """Least, median (the lower one of an even number) and largest value."""
    if not counts:
        return None
    values = sorted(counts)
    below = list(accumulate(counts[value] for value in values))
    middle = values[bisect_right(below, (below[-1] - 1) // 2)]
    return Spread(min=values[0] / unit, median=middle / unit, max=values[-1] / unit)
