"""Scaling laws as pure functions, with their formulas, parameters, units and sources. Pure.

p GPUs, T(p) seconds of an epoch, S(p) = T(1)/T(p) under strong and p T(1)/T(p) under weak scaling.

| law | formula | parameters | source |
|---|---|---|---|
| Amdahl (strong) | S = 1/(s + (1-s)/p) | s serial fraction | Amdahl 1967, AFIPS 30, p. 483 |
| Gustafson (weak) | S = p - s (p-1) | s serial fraction | Gustafson 1988, CACM 31(5), p. 532 |
| USL (both) | S = p/(1 + a (p-1) + b p (p-1)) | a contention, b coherence | Gunther 1993 and 2007 |
| latency-bandwidth (both) | see below | c, w, latency, transfer | Thakur et al. 2005; nccl-tests, PERFORMANCE.md |

The last one knows what a step of data-parallel training does, m images per GPU and step, S bytes of gradient:

    T(p)  = steps(p) x [ c m (1 + w sqrt(2 ln p)) + R(p) ]
    R(p)  = 2 (p-1) latency + 2 (p-1)/p x S/B               a ring's all-reduce, nothing of it hidden
    steps = ceil(images of an epoch / global batch)

c: seconds of an image on one GPU. w: standard deviation of a rank's computation as a part of it; the slowest of p such
ranks is about w sqrt(2 ln p) above their mean (largest of p normal deviates, Cramér 1946, section 28.6).

Every law is linear in seconds (or, Gustafson's, in 1/seconds): `terms` are the factors of its coefficients.
"""

import math
from enum import StrEnum

from launchers.checked import checked
from vit_sweep.analysis.series.series import SeriesKey
from vit_sweep.plan.choices import BatchPer, Scaling
from vit_sweep.plan.predict import ring


class Law(StrEnum):
    """A model of how time falls with the number of GPUs."""

    AMDAHL = "amdahl"
    GUSTAFSON = "gustafson"
    USL = "usl"
    """Gunther's universal scalability law."""
    LATENCY_BANDWIDTH = "latency_bandwidth"
    """Latency, bandwidth, imbalance: all four coefficients from the epoch times."""
    MEASURED_LINK = "measured_link"
    """The same with latency and bandwidth as the preflight measured them; computation and imbalance are fitted."""


NAMES = {
    Law.AMDAHL: "Amdahl",
    Law.GUSTAFSON: "Gustafson",
    Law.USL: "USL",
    Law.LATENCY_BANDWIDTH: "the latency-bandwidth model",
    Law.MEASURED_LINK: "the latency-bandwidth model with the measured link",
}
"""As a sentence names them."""

COEFFICIENTS = {
    Law.AMDAHL: 2,
    Law.GUSTAFSON: 2,
    Law.USL: 3,
    Law.LATENCY_BANDWIDTH: 4,
    Law.MEASURED_LINK: 2,
}
"""What is fitted, the time on one GPU included."""

OF_SCALING = {
    Scaling.STRONG: (Law.AMDAHL, Law.USL, Law.LATENCY_BANDWIDTH, Law.MEASURED_LINK),
    Scaling.WEAK: (Law.GUSTAFSON, Law.USL, Law.LATENCY_BANDWIDTH, Law.MEASURED_LINK),
}
"""Which law means anything under which scaling: Amdahl's work is fixed, Gustafson's grows."""


def counts_needed(law: Law) -> int:
    """Distinct GPU counts that a fit takes: one more than coefficients, so that each may be held out once."""
    return COEFFICIENTS[law] + 1


# --- the laws --------------------------------------------------------------------------------------------


def slowest_of(gpus: int) -> float:
    """sqrt(2 ln p): how many standard deviations the slowest of p ranks is above their mean; 0 for one."""
    return math.sqrt(2 * math.log(gpus))


# --- the work of an epoch ----------------------------------------------------------------------------------


@checked
class Workload:
    """What an epoch of a series has to do on p GPUs."""

    scaling: Scaling
    batch_per: str
    """gpu: `batch` images per GPU and micro step; global: `batch` images per optimizer step."""
    batch: int | None = None
    accum: int | None = None
    work: int | None = None
    """Images of an epoch (strong), or of an epoch and GPU (weak)."""
    sequence: int = 1
    """GPUs that share the tokens of the same images."""

    @property
    def known(self) -> bool:
        """Whether steps can be counted."""
        return None not in (self.batch, self.accum, self.work)

    def images(self, gpus: int) -> int:
        """Images that an epoch covers; raises `ValueError` where the series does not say them."""
        if self.work is None:
            raise ValueError("the images of an epoch are not known")
        return self.work if self.scaling is Scaling.STRONG else self.work * gpus

    def per_gpu(self, gpus: int) -> float:
        """Images of a GPU in an optimizer step; of one that GPUs share each has its part."""
        if self.batch is None or self.accum is None:
            raise ValueError("the batch is not known")
        return self.batch * self.accum / self.sequence if self.batch_per == BatchPer.GPU else self.batch / gpus

    def steps(self, gpus: int) -> int:
        """Optimizer steps of an epoch: ceil(images / global batch)."""
        # A hair's breadth, since a global batch over 3 GPUs is no exact float.
        return math.ceil(self.images(gpus) / (self.per_gpu(gpus) * gpus) - 1e-9)


def workload_of(key: SeriesKey) -> Workload:
    """What a series says of its work."""
    return Workload(
        scaling=key.scaling,
        batch_per=key.batch_per,
        batch=key.batch,
        accum=key.accum,
        work=key.work,
        sequence=int(dict(key.conditions).get("sequence", 1)),
    )


@checked
class MeasuredLink:
    """What the preflight of the runs said of the network: medians over runs."""

    latency_s: float
    """Of one of the 2 (p-1) messages of a ring: the smallest all-reduce over 2 (p-1)."""
    seconds_per_byte: tuple[tuple[int, float], ...]
    """1/B at every GPU count that was measured, without the latency that the measurement contains."""

    inside_up_to: int = 0
    """Most GPUs that were measured inside one node; beyond it the ranks of a job are on several."""

    def at(self, gpus: int) -> float:
        """1/B at the nearest measured GPU count (by ratio), of two equally near ones the larger.

        Inside a node it is that of a count inside one, across nodes that of a count across, where there is any.
        """
        alike = [pair for pair in self.seconds_per_byte if self.crosses(pair[0]) == self.crosses(gpus)]
        return min(alike or self.seconds_per_byte, key=lambda pair: (abs(math.log(pair[0] / gpus)), -pair[0]))[1]

    def crosses(self, gpus: int) -> bool:
        """Whether so many GPUs are taken to be on several nodes."""
        return gpus > self.inside_up_to

    def without(self, gpus: int) -> "MeasuredLink":
        """As if `gpus` had not been measured, unless nothing else was on its side of a node's edge."""
        left = tuple(pair for pair in self.seconds_per_byte if pair[0] != gpus)
        if not any(self.crosses(count) == self.crosses(gpus) for count, _ in left):
            return self
        return MeasuredLink(latency_s=self.latency_s, seconds_per_byte=left, inside_up_to=self.inside_up_to)


def terms(law: Law, gpus: int, load: Workload) -> tuple[float, ...]:
    """Factors of a law's coefficients in T(p), or for Gustafson in 1/T(p).

    Amdahl: serial and parallel seconds. Gustafson: s/T(1) and (1-s)/T(1). USL: T(1), a T(1), b T(1).
    Latency-bandwidth: c, c w, latency, S/B; with a measured link c and c w.
    """
    share = 1 / gpus if load.scaling is Scaling.STRONG else 1.0
    match law:
        case Law.AMDAHL:
            return (1.0, 1 / gpus)
        case Law.GUSTAFSON:
            return (1 / gpus, 1.0)
        case Law.USL:
            return (share, share * (gpus - 1), share * gpus * (gpus - 1))
        case _:
            images = load.steps(gpus) * load.per_gpu(gpus)
            computing = (images, images * slowest_of(gpus))
            if law is Law.MEASURED_LINK:
                return computing
            return (*computing, load.steps(gpus) * ring.messages(gpus), load.steps(gpus) * ring.traffic(gpus))


def known_s(gpus: int, load: Workload, *, link: MeasuredLink | None, size_bytes: float | None) -> float:
    """Seconds of an epoch that need no fit: the all-reduces of a measured link; else 0."""
    if link is None or size_bytes is None:
        return 0.0
    per_byte = link.at(gpus)
    allreduce_s = ring.allreduce_s(gpus, size_bytes=size_bytes, latency_s=link.latency_s, seconds_per_byte=per_byte)
    return load.steps(gpus) * allreduce_s


def law_time_s(
    law: Law,
    gpus: int,
    load: Workload,
    coefficients: tuple[float, ...],
    *,
    link: MeasuredLink | None = None,
    size_bytes: float | None = None,
) -> float:
    """T(p) of a law with given coefficients (see `terms`), seconds."""
    total = sum(c * t for c, t in zip(coefficients, terms(law, gpus, load), strict=True))
    return 1 / total if law is Law.GUSTAFSON else total + known_s(gpus, load, link=link, size_bytes=size_bytes)
