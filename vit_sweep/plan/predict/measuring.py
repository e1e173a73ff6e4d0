"""How long a job measures beside its training, and the rules that bound it: preflight, exposed communication, profile.

Pure: the trainer follows these rules (`job/train/measure/`), the plan predicts from them.
"""

from collections.abc import Collection, Sequence

from vit_sweep.plan.cell import DeepSpeedProfiler

EXPOSED_KINDS = 3
"""Kinds of blocks: with collectives, with them again, without."""
ROUNDS = 9
"""Rounds of one block of each kind: of nine, the second smallest and the second largest hold the median in 96 %."""
BLOCK_STEPS = 3
AT_MOST_S = 60.0
"""Fewer rounds where this many would take longer, but at least `LEAST_ROUNDS`, of single steps if need be. Likewise
where they would be more steps than the run trains: a small run is not measured for longer than it runs."""
LEAST_ROUNDS = 6
"""Fewer have no interval at 95 %."""
EXPOSED_WARM_UPS = 2
"""Blocks of one step before the counted ones."""

DEVICE_S = 0.5
"""Of the matrix products of a preflight, and of its copies in memory."""
ALL_REDUCES, SIZE_S, ONE_S = 5, 1.0, 10.0
"""Timed all-reduces of a size at most; seconds that they may take together; seconds from which on none is tried."""
_FIRST_BYTES, _GROWTH, _LAST_STEP = 4096, 16, 4

CERTIFIED_STEPS = 50
"""Optimizer steps of a certificate."""
COPY_BLOCKS, COPY_IMAGES, COPY_MICRO_STEPS = 2, 2, 2
"""Of the small copy that a certificate trains: encoder blocks at most, images of a micro step, micro steps at most."""
COPY_SIDE = 16
"""Patches of a side, about at most, of the images of a small copy whose tokens lie on several ranks."""
_SMALL_STEP_S = 0.02
"""Of a micro step that is so small that its calls take longer than its operations."""

OPENING_S = 1.5
"""Of a preflight: the math library's and the first connections' start."""
PROFILER_S = 10.0
"""Starting the profiler, reading its events and writing the trace."""
SETTLING_STEPS, COUNTED_STEPS = 2, 1
"""Before the step whose calls are counted: DDP has its final buckets in its third. That one takes longer, by a time
that hangs on the number of its calls alone."""
LOGGED_STEPS = 8
"""Of DeepSpeed's communication logger: 1 + 3, each taken as two, since it waits for the device after every call."""


def rounds_and_steps(usual_step_s: float, trained_steps: int) -> tuple[int, int]:
    """How many rounds, and steps in a block, of a run of `trained_steps` steps that usually take so long; the same on
    all ranks."""
    max_steps = min(AT_MOST_S / max(usual_step_s, 1e-9), trained_steps)
    for steps in (BLOCK_STEPS, 1):
        rounds = int(max_steps / (EXPOSED_KINDS * steps))
        if rounds >= LEAST_ROUNDS:
            return min(rounds, ROUNDS), steps
    return LEAST_ROUNDS, 1


def sizes(gradient_bytes: int) -> list[int]:
    """Bytes of the messages: 4 KiB, times 16 each, while the gradient is at least four times as large; the gradient."""
    smaller, size = [], _FIRST_BYTES
    while size * _LAST_STEP <= gradient_bytes:
        smaller.append(size)
        size *= _GROWTH
    return [*smaller, gradient_bytes]


def preflight_s(all_reduces_s: Sequence[float] | None, messages: int) -> float:
    """Seconds of a preflight: matrix products, copies, and each message once and then up to five times in a second.

    `all_reduces_s` are the predicted times of the `messages` smaller, in order; None where the network is not known:
    then each size is given its whole second. One rank sends no message: `messages` is 0.
    """
    spent = 2 * DEVICE_S + OPENING_S
    if all_reduces_s is None:
        return spent + SIZE_S * messages
    for one_s in all_reduces_s:
        if one_s > ONE_S:
            break  # it is not even tried
        spent += one_s * (1 + repetitions(one_s))
    return spent


def certificate_s(image_s: float, *, ranks: int, accum: int, blocks: int) -> float:
    """Seconds of a certificate: each rank takes its steps in the engine, and then those of all ranks alone.

    `image_s` is what an image takes in the whole model; of a model without known `blocks` the whole is trained.
    """
    part = min(1.0, COPY_BLOCKS / blocks) if blocks else 1.0
    micro_step_s = max(_SMALL_STEP_S, COPY_IMAGES * part * image_s)
    return CERTIFIED_STEPS * min(COPY_MICRO_STEPS, accum) * (1 + ranks) * micro_step_s


def repetitions(first_s: float) -> int:
    """How often an all-reduce is repeated whose first one took so long."""
    return max(1, min(ALL_REDUCES, int(SIZE_S / max(first_s, 1e-6))))


def after_s(
    step_s: float,
    *,
    ranks: int,
    trained_steps: int,
    profile_steps: int,
    exposed: bool = True,
    profilers: Collection[DeepSpeedProfiler] = (),
) -> float:
    """Seconds of what is measured after the last epoch: blocks of steps (of several ranks), profiled windows, counts.

    The batch and the shapes are the epoch's, so a step takes as long; without collectives it is shorter, which is
    left out of account. Steps of up to 3.3 s keep to `AT_MOST_S`, longer ones take 20 steps.
    `trained_steps`: of the run.
    """
    spent = (SETTLING_STEPS + COUNTED_STEPS) * step_s
    if ranks > 1 and exposed:
        rounds, steps = rounds_and_steps(step_s, trained_steps)
        spent += (EXPOSED_KINDS * rounds * steps + EXPOSED_WARM_UPS) * step_s
    if profile_steps:
        spent += profile_steps * step_s + PROFILER_S
    if DeepSpeedProfiler.COMMS in profilers and ranks > 1:
        spent += LOGGED_STEPS * step_s
    if DeepSpeedProfiler.FLOPS in profilers:
        spent += step_s  # a forward, counted in Python
    return spent
