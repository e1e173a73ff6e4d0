"""Which machine a run had, and whether two machines are alike. Pure.

Every fact may be None: it was not to be learnt. An unknown fact never makes two machines unlike.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from enum import StrEnum
from statistics import median

from launchers.checked import Part, Quantity, Signed, Whole, checked
from launchers.text import grouped, some
from vit_sweep.plan.predict import ring


@checked
class Gpu:
    """One rank's GPU, as CUDA and NVML describe it before the rank uses it."""

    model: str | None = None
    memory_mib: Quantity | None = None
    """All of its memory, or the MIG slice's."""
    serial: str | None = None
    """12 hex digits of sha256 over its UUID: the same GPU is known again, and nobody else learns its serial number."""
    driver: str | None = None
    mig: bool | None = None
    """Whether MIG mode is on. None also where the GPU knows no such mode."""
    nvlinks: Whole | None = None
    """Active NVLinks."""
    pcie_generation: Whole | None = None
    """The most that GPU and slot can do together: an idle link rests at a lower one."""
    pcie_width: Whole | None = None
    """Lanes in use."""
    numa_node: Whole | None = None
    sm_clock_mhz: Whole | None = None
    """At the start of the job, before any work."""
    max_sm_clock_mhz: Whole | None = None
    power_limit_w: Quantity | None = None
    other_processes: Whole | None = None
    """Compute processes of others on it, at the start of the job."""
    other_mib: Quantity | None = None
    """Memory that these hold."""


@checked
class Fingerprint:
    """Where one rank ran and with what."""

    rank: Whole
    host: str
    cpu: str | None = None
    host_cores: Whole | None = None
    """Logical cores of the host, whoever may use them."""
    host_memory_mib: Quantity | None = None
    network_gbit_per_s: Quantity | None = None
    """Rated speed of the fastest network interface that is up, Ethernet or InfiniBand."""
    kernel: str | None = None
    gpu: Gpu | None = None
    """None on a CPU device."""
    python: str | None = None
    torch: str | None = None
    deepspeed: str | None = None
    modules: tuple[str, ...] | None = None
    """Environment modules that were loaded; None where the site has none."""
    cuda: str | None = None
    """Of the runtime that torch was built with; None on a CPU device, like `nccl`."""
    nccl: str | None = None


@checked
class AllReduce:
    """An all-reduce over all ranks of the job, alone on the machine."""

    size_bytes: Whole
    repetitions: Whole
    """Timed ones, after one that is not."""
    min_ms: Quantity
    """Of this rank, each from the end of the one before until the result is there."""
    median_ms: Quantity

    @property
    def algorithm_gb_per_s(self) -> float:
        """`size / median time`, in 1e9 bytes a second."""
        return self.size_bytes / self.median_ms / 1e6 if self.median_ms else 0.0

    def bus_gb_per_s(self, ranks: int) -> float:
        """`algorithm x ring.traffic`: what a ring's link carries, comparable between rank counts (nccl-tests)."""
        return self.algorithm_gb_per_s * ring.traffic(ranks)


@checked
class Preflight:
    """What one rank could do just before training."""

    rank: Whole
    precision: str
    """The number format of the probes: the one in which the cell trains."""
    matmul_size: Whole | None = None
    """Rows and columns of the square matrices."""
    matmul_tflops: Quantity | None = None
    """`2 size^3 / median time`."""
    memory_gb_per_s: Quantity | None = None
    """Bytes read and written by a copy in the device's memory / its median time, in 1e9 a second."""
    all_reduce: tuple[AllReduce, ...] = ()
    """By size, ascending, the gradient's last; empty with one rank."""
    to_next_gb_per_s: Quantity | None = None
    """Exchange with the next rank in a ring over ranks, both directions at once, bytes sent / median time.
    None with one rank."""
    seconds: Quantity
    """What the preflight took."""
    note: str = ""
    """Why something is missing."""

    @property
    def latency_ms(self) -> float | None:
        """What an all-reduce takes beside its bytes: median over the small sizes of time - size x time per byte.

        The time per byte is the largest message's. Small: at most a sixteenth of it, or just the smallest one. None
        without messages.
        """
        largest = self.largest
        if largest is None:
            return None
        per_byte_ms = largest.median_ms / largest.size_bytes
        small = [probe for probe in self.all_reduce if 16 * probe.size_bytes <= largest.size_bytes]
        latencies = [probe.median_ms - probe.size_bytes * per_byte_ms for probe in small]
        return max(median(latencies), 0.0) if latencies else self.all_reduce[0].median_ms

    @property
    def largest(self) -> AllReduce | None:
        """The all-reduce of the largest size: the gradient's, unless the network is so slow that it was left out."""
        return self.all_reduce[-1] if self.all_reduce else None


class EnergySource(StrEnum):
    """Where the joules come from."""

    COUNTER = "counter"
    """The GPU's own energy counter (Volta and later)."""
    POWER = "power"
    """The sum of power x time between samples."""


@checked
class Spread:
    """A sampled quantity."""

    min: Signed
    median: Signed
    max: Signed


@checked
class Samples:
    """One rank's GPU while it trained: evaluation, checkpoints and (if there are others) the first epoch left out."""

    rank: Whole
    count: Whole
    """Samples."""
    seconds: Quantity
    """Training time that lies between two of them."""
    sm_clock_mhz: Spread | None = None
    power_w: Spread | None = None
    temperature_c: Spread | None = None
    utilisation: Spread | None = None
    """Part of the time in which a kernel ran (NVML), 0 to 1."""
    throttled_s: Quantity = 0.0
    """Seconds with the clock held down, for whatever reasons."""
    throttled_s_by_reason: tuple[tuple[str, Quantity], ...] = ()
    """Reason and seconds; several may hold at once."""
    energy_j: Quantity | None = None
    """Joules within `seconds`."""
    energy_from: EnergySource | None = None


@checked
class HostTime:
    """What the timed steps of an epoch cost one rank's process on its host."""

    seconds: Quantity
    """Wall time, the barriers at both ends included."""
    cpu_s: Quantity
    """Processor time of all its threads."""
    waited_s: Quantity | None = None
    """How long its main thread could run and had no core: somebody else had it. None where the kernel does not say."""
    switches: Whole = 0
    """How often the kernel took a core away from it (involuntary context switches)."""
    pressure: Part | None = None
    """Part of the time in which some task of the host, of whomever, waited for a core (PSI)."""
    load: Quantity | None = None
    """Load average of the host over the last minute, at the end."""
    stopped_s: Quantity = 0.0
    """How long it stood still: suspended by the scheduler, or stopped by a signal."""


Fact = Callable[[Fingerprint], object]


def _gpu(fact: Callable[[Gpu], object]) -> Fact:
    return lambda rank: None if rank.gpu is None else fact(rank.gpu)


FACTS: dict[str, Fact] = {
    "GPU model": _gpu(lambda gpu: gpu.model),
    "GPU memory": _gpu(lambda gpu: _gib(gpu.memory_mib)),
    "MIG": _gpu(lambda gpu: _on(gpu.mig)),
    "power limit": _gpu(lambda gpu: _unit(gpu.power_limit_w, "W")),
    "largest clock": _gpu(lambda gpu: _unit(gpu.max_sm_clock_mhz, "MHz")),
    "NVLinks": _gpu(lambda gpu: gpu.nvlinks),
    "PCIe": _gpu(lambda gpu: _lanes(gpu.pcie_generation, gpu.pcie_width)),
    "CPU": lambda rank: rank.cpu,
    "driver": _gpu(lambda gpu: gpu.driver),
    "CUDA": lambda rank: rank.cuda,
    "NCCL": lambda rank: rank.nccl,
    "torch": lambda rank: rank.torch,
    "deepspeed": lambda rank: rank.deepspeed,
}
"""What makes machines unlike, as people read it. A host's name, its kernel, a GPU's serial, the clock of the moment and
the number of a NUMA node do not: repeats are meant to run on other nodes."""

_GPU_FACTS = ("GPU model", "GPU memory", "MIG", "power limit", "largest clock")


def differences(fingerprints: Iterable[Fingerprint]) -> tuple[str, ...]:
    """One clause per fact that is not the same everywhere, with who has what; empty when all are alike.

    Give it the ranks of one job, or those of all runs of a series.
    """
    everyone = list(fingerprints)
    if len(set(facts_of(everyone))) < 2:
        return ()
    return tuple(clause for name, fact in FACTS.items() if (clause := _difference(name, fact, everyone)))


def unlike_gpus(fingerprints: Iterable[Fingerprint]) -> tuple[str, ...]:
    """Like `differences`, of what a GPU is: its model, memory, MIG mode, power limit, clock."""
    everyone = list(fingerprints)
    if len(set(facts_of(everyone))) < 2:
        return ()
    return tuple(clause for name in _GPU_FACTS if (clause := _difference(name, FACTS[name], everyone)))


def may_pool(a: tuple[Fingerprint, ...], b: tuple[Fingerprint, ...]) -> tuple[bool, str]:
    """Whether two runs may count as repeats of each other, and if not, why.

    `a` and `b` are their `Record.machine`. Both empty: two runs from before machines were recorded, which nothing
    speaks against. Runs of equally many ranks must have every fact equally often, others at least somewhere.
    """
    if not a and not b:
        return True, ""
    if not a or not b:
        return False, "the machine of one of the runs is not recorded"
    clauses = [clause for name, fact in FACTS.items() if (clause := _unlike(name, fact, a, b))]
    return not clauses, "; ".join(clauses)


HARDWARE = (*_GPU_FACTS, "NVLinks", "PCIe", "CPU")
"""Facts that no installation changes."""


def unlike_hardware(a: tuple[Fingerprint, ...], b: tuple[Fingerprint, ...]) -> str:
    """Like `may_pool`, of the machine alone, whatever is installed on it: why it is another; empty if it is not."""
    if bool(a) != bool(b):
        return "the machine of one side is not recorded"
    return "; ".join(clause for name in HARDWARE if (clause := _unlike(name, FACTS[name], a, b)))


def hardware_words(fingerprints: Iterable[Fingerprint]) -> str:
    """What kind of machine it is, in words: `CPU Intel Xeon`; empty where nobody knows."""
    everyone = list(fingerprints)
    values = {name: sorted({str(FACTS[name](rank)) for rank in everyone} - {"None"}) for name in HARDWARE}
    return ", ".join(f"{name} {' + '.join(known)}" for name, known in values.items() if known)


def facts_of(fingerprints: Iterable[Fingerprint]) -> tuple[object, ...]:
    """What `may_pool` and `differences` look at, by rank, as recorded. Equal ones are alike; others may be too."""
    return tuple(map(_facts, fingerprints))


def _facts(rank: Fingerprint) -> tuple[object, ...]:
    gpu = rank.gpu
    own = gpu and (
        gpu.model,
        gpu.memory_mib,
        gpu.driver,
        gpu.mig,
        gpu.nvlinks,
        gpu.pcie_generation,
        gpu.pcie_width,
        gpu.max_sm_clock_mhz,
        gpu.power_limit_w,
    )
    return (own, rank.cpu, rank.cuda, rank.nccl, rank.torch, rank.deepspeed)


def _difference(name: str, fact: Fact, everyone: list[Fingerprint]) -> str | None:
    values = [fact(rank) for rank in everyone]
    if len(set(values) - {None}) < 2:
        return None
    holders = grouped((str(value), rank) for rank, value in zip(everyone, values, strict=True) if value is not None)
    if len(holders) < 2:
        return None
    return f"{name}: " + ", ".join(f"{value} ({_who(holders[value])})" for value in sorted(holders))


def _who(holders: list[Fingerprint]) -> str:
    """The hosts, at most three by name."""
    return f"on {some(sorted({rank.host for rank in holders}), 3)}"


def _unlike(name: str, fact: Fact, a: tuple[Fingerprint, ...], b: tuple[Fingerprint, ...]) -> str | None:
    counts, other = (Counter(str(fact(rank)) for rank in run if fact(rank) is not None) for run in (a, b))
    if not counts or not other:
        return None
    complete = len(a) == counts.total() == other.total() == len(b)
    if (counts == other) if complete else (set(counts) == set(other)):
        return None
    return f"{name}: {_counted(counts, len(a))} against {_counted(other, len(b))}"


def _counted(values: Counter[str], ranks: int) -> str:
    if len(values) == 1 and values.total() == ranks:
        return next(iter(values))
    return " + ".join(f"{count} x {value}" for value, count in sorted(values.items()))


def _gib(mib: float | None) -> str | None:
    # Whole GiB: drivers and ECC keep a different few MiB for themselves.
    return None if mib is None else f"{mib / 1024:.0f} GiB"


def _on(mig: bool | None) -> str | None:
    return None if mig is None else ("on" if mig else "off")


def _unit(value: float | None, unit: str) -> str | None:
    return None if value is None else f"{value:.0f} {unit}"


def _lanes(generation: int | None, width: int | None) -> str | None:
    return None if generation is None or width is None else f"generation {generation} x{width}"
