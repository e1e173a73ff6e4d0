"""What a simulation gives: points with their bands, and what they rest on. The types; pure."""

from launchers.checked import checked
from vit_sweep.analysis.series.series import Estimate
from vit_sweep.plan.choices import Scaling


@checked
class Input:
    """One number that a simulation rests on."""

    name: str
    value: str
    source: str
    guess: bool
    """Whether nobody measured it for this very case."""


@checked
class SimulatedPoint:
    """One GPU count, simulated."""

    gpus: int
    nodes: int
    held_gpus: int
    """More than `gpus` where nodes are handed out whole."""
    global_batch: int
    steps: int
    """Of an epoch."""
    compute_ms: float
    """Of a step."""
    communication_ms: float
    """What no computation hides, under the stated overlap."""
    imbalance_ms: float
    """Waiting for the slowest rank."""
    epoch_s: float
    slow_s: float
    """Of the slow edge."""
    fast_s: float
    """Of the fast edge."""
    images_per_s: float
    speedup: Estimate
    """Against the smallest simulated count, each edge against its own; the interval is the band."""
    efficiency: Estimate
    beyond: bool = False
    """Whether the partition has fewer GPUs, or fewer nodes for this placement."""

    @property
    def step_ms(self) -> float:
        """Optimizer step."""
        return self.compute_ms + self.communication_ms + self.imbalance_ms

    @property
    def gpu_hours(self) -> float:
        """Of an epoch."""
        return self.held_gpus * self.epoch_s / 3600


@checked
class Simulation:
    """A simulated curve. Not a measurement and not a fit: `inputs` say what it rests on."""

    label: str
    scaling: Scaling
    points: tuple[SimulatedPoint, ...]
    impossible: tuple[str, ...]
    """Counts that cannot be, a sentence each."""
    inputs: tuple[Input, ...]
    notes: tuple[str, ...] = ()
