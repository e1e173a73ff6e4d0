"""Epoch times that follow a law exactly or with noise, and series of them, for the tests of fits and predictions."""

import random
from dataclasses import replace
from math import exp
from typing import Any

from tests.unit.analysis.builders import series_from
from vit_sweep.analysis.laws.laws import Law, MeasuredLink, Workload, law_time_s
from vit_sweep.plan.choices import Scaling

COUNTS = (1, 2, 4, 8, 16, 32)
NOISE = 0.02
LINK = MeasuredLink(latency_s=30e-6, seconds_per_byte=((2, 2e-10), (8, 2.5e-10), (32, 4e-10)))
GRADIENT = 346e6


def load(scaling):
    return Workload(scaling=scaling, batch_per="gpu", batch=16, accum=1, work=25_600)


def curve(law, scaling, coefficients, counts=COUNTS):
    known: dict[str, Any] = {"link": LINK, "size_bytes": GRADIENT} if law is Law.MEASURED_LINK else {}
    return {gpus: law_time_s(law, gpus, load(scaling), coefficients, **known) for gpus in counts}


def noisy(times, seed, *, repeats=3, noise=NOISE):
    draw = random.Random(seed)
    return {gpus: [seconds * exp(draw.gauss(0, noise)) for _ in range(repeats)] for gpus, seconds in times.items()}


def series_of(times, scaling=Scaling.STRONG, **changes):
    """A series with one or more runs of one epoch at each count, 25,600 images in all or for each GPU."""
    many = {g: [(t,) for t in (s if isinstance(s, list) else [s])] for g, s in times.items()}
    made = series_from(many, scaling=scaling, **changes)
    return replace(made, key=replace(made.key, work=25_600))
