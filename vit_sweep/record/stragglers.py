"""Who makes the others wait: a slow GPU, a slow loader, or a slow link. Pure.

A collective ends for all ranks at once, so a rank that comes late communicates shorter: the others wait for it inside
the collective. Over ranks, with `r = compute + data wait` (a rank is ready for the collective) and `m` the time inside
collectives:

    gpus + data = max r - median r    what the last rank adds: `data` as far as its data wait is above the median one
    transfer    = min m               the last rank to come does not wait: what is left is transfer
    link        = transfer x (1 - slowest link / median link)     what an even network would save
    network     = transfer - link
    step        = median r + gpus + data + link + network

A slow rank or link is found by the modified z-score of Iglewicz and Hoaglin (1993), `0.6745 (x - median) / MAD`, MAD
being the median absolute deviation. At most half of the ranks can be found slow: of two equal groups nobody can say
which one is.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from statistics import median
from typing import NamedTuple

from launchers.checked import checked
from launchers.text import some

Z_LIMIT = 3.5
"""Iglewicz and Hoaglin's."""
LEAST_EFFECT = 0.05
"""A rank that computes less than this longer than the median is not slow, however steady all the others are."""
LEAST_LINK_EFFECT = 0.5
"""Likewise for the time that a link takes for a byte: half the links of a healthy ring differ by tens of percent."""
LEAST_COUNT = 3
"""Of two ranks nobody can say which one is slow."""
_LEAST_MAD = 0.005
"""Of the median: ranks whose times agree to the microsecond by chance make no scale."""


class Blame(StrEnum):
    """What explains most of a step beyond the computation of a typical rank."""

    NOTHING = "nothing"
    """All of it together is less than `LEAST_EFFECT` of the step."""
    GPUS = "gpus"
    """Waiting for ranks that compute longer."""
    DATA = "data"
    """Waiting for a rank that waits longer for its images."""
    LINK = "link"
    """Transfer that takes longer than it would if the slowest link were like the others."""
    NETWORK = "network"
    """Transfer, where no link is known to stand out: the price of communication on this network."""


class RankTimes(NamedTuple):
    """What one rank's typical step consists of."""

    rank: int
    host: str
    compute_ms: float
    """Forward, backward and optimizer, without any collective."""
    communication_ms: float
    """In collectives, waiting included."""
    data_ms: float = 0.0
    """Waiting for images."""
    link_gb_per_s: float | None = None
    """The best that the rank's place in the network could do before training, see `links`."""


@checked
class Slow:
    """A rank or, of a link, a host that stands out."""

    rank: int | None
    """None: a link, which all ranks of the host share."""
    host: str
    times: float
    """How many times as long as the median."""
    z: float


@checked
class Explanation:
    """Where the time of a step goes, over all ranks."""

    blame: Blame
    sentence: str
    """For people, with the names and the figures."""
    base_ms: float
    """Computing and data wait of the median rank."""
    gpus_ms: float
    data_ms: float
    link_ms: float
    network_ms: float
    slow_ranks: tuple[Slow, ...]
    """Slow at computing, whether or not they are to blame for the step."""
    slow_links: tuple[Slow, ...]

    @property
    def step_ms(self) -> float:
        """The sum of all parts."""
        return self.base_ms + self.gpus_ms + self.data_ms + self.link_ms + self.network_ms


def scores(values: Sequence[float]) -> tuple[float, ...]:
    """Modified z-scores; the scale is at least half a percent of the median."""
    middle = median(values)
    deviation = max(median(abs(value - middle) for value in values), _LEAST_MAD * middle)
    return tuple(0.6745 * (value - middle) / deviation if deviation else 0.0 for value in values)


def outliers(values: Sequence[float], *, least_effect: float = LEAST_EFFECT) -> tuple[int, ...]:
    """Places of the values that are too large to be like the others; none of fewer than three."""
    if len(values) < LEAST_COUNT:
        return ()
    bound = median(values) * (1 + least_effect)
    return tuple(i for i, z in enumerate(scores(values)) if z > Z_LIMIT and values[i] > bound)


def slow_ranks(ranks: Iterable[RankTimes]) -> tuple[Slow, ...]:
    """Ranks that compute longer than the others, slowest first."""
    everyone = list(ranks)
    outlying = _slow([rank.compute_ms for rank in everyone], least_effect=LEAST_EFFECT)
    outliers = [Slow(rank=everyone[i].rank, host=everyone[i].host, times=times, z=z) for i, times, z in outlying]
    return tuple(sorted(outliers, key=lambda slow: (-slow.times, slow.rank)))


def slow_links(ranks: Iterable[RankTimes]) -> tuple[Slow, ...]:
    """Hosts whose link takes longer for a byte than those of others, slowest first; on a single host its ranks."""
    speeds = _speeds(list(ranks))
    if not speeds:
        return ()
    places = list(speeds)
    outlying = _slow([1 / speeds[place] for place in places], least_effect=LEAST_LINK_EFFECT)
    outliers = [Slow(rank=places[i][1], host=places[i][0], times=times, z=z) for i, times, z in outlying]
    return tuple(sorted(outliers, key=lambda slow: (-slow.times, slow.host, slow.rank or 0)))


def explain(ranks: Iterable[RankTimes]) -> Explanation | None:
    """Split the step and name what takes most of it beyond a typical rank's work; None without ranks or times."""
    everyone = list(ranks)
    if not everyone or not any(_ready_ms(rank) + rank.communication_ms for rank in everyone):
        return None
    base = median(_ready_ms(rank) for rank in everyone)
    last = max(everyone, key=lambda rank: (_ready_ms(rank), rank.data_ms))
    delay_ms = _ready_ms(last) - base
    data = min(delay_ms, max(0.0, last.data_ms - median(rank.data_ms for rank in everyone)))
    transfer = min(rank.communication_ms for rank in everyone)
    slow, thin = slow_ranks(everyone), slow_links(everyone)
    link = transfer * (1 - 1 / thin[0].times) if thin else 0.0
    parts = {Blame.GPUS: delay_ms - data, Blame.DATA: data, Blame.LINK: link, Blame.NETWORK: transfer - link}
    step = base + delay_ms + transfer
    blame = max(parts, key=lambda part: parts[part])
    if parts[blame] < LEAST_EFFECT * step:
        blame = Blame.NOTHING
    return Explanation(
        blame=blame,
        sentence=_sentence(blame, {part: ms / step for part, ms in parts.items()}, last, slow, thin),
        base_ms=base,
        gpus_ms=parts[Blame.GPUS],
        data_ms=data,
        link_ms=link,
        network_ms=transfer - link,
        slow_ranks=slow,
        slow_links=thin,
    )


def links(hosts: Sequence[str], to_next_gb_per_s: Sequence[float | None]) -> tuple[float | None, ...]:
    """What each rank's place can do in the network, from the speeds of a ring's links; by rank.

    `to_next_gb_per_s[r]` is the link between ranks `r` and `r + 1`. A slow host slows both links that it has, its
    neighbours one of their two: so a place is as good as its best link. A place is a host, by its links to other
    hosts; on a single host it is a rank.
    """
    count = len(hosts)
    single = len(set(hosts)) == 1
    places: list[object] = list(range(count)) if single else list(hosts)
    best: dict[object, float] = {}
    for rank, speed in enumerate(to_next_gb_per_s):
        ends = places[rank], places[(rank + 1) % count]
        if speed is None or ends[0] == ends[1]:
            continue
        for end in ends:
            best[end] = max(speed, best.get(end, 0.0))
    return tuple(best.get(place) for place in places)


def names(slow: tuple[Slow, ...]) -> str:
    """`rank 3 on b (1.4 x)`: who takes how many times as long as the median; at most three."""
    return some(
        (f"{'' if rank.rank is None else f'rank {rank.rank} on '}{rank.host} ({rank.times:.3g} x)" for rank in slow), 3
    )


def _ready_ms(rank: RankTimes) -> float:
    return rank.compute_ms + rank.data_ms


def _speeds(ranks: list[RankTimes]) -> dict[tuple[str, int | None], float]:
    """The link of each host, or of each rank where there is one host. Empty unless all of them are known."""
    single = len({rank.host for rank in ranks}) == 1
    speeds: dict[tuple[str, int | None], float] = {}
    for rank in ranks:
        if not rank.link_gb_per_s:
            return {}
        end = (rank.host, rank.rank if single else None)
        speeds[end] = max(rank.link_gb_per_s, speeds.get(end, 0.0))
    return speeds


def _slow(values: list[float], *, least_effect: float) -> list[tuple[int, float, float]]:
    """Place, multiple of the median and score of every value that stands out."""
    z, middle = scores(values), median(values)
    return [(i, values[i] / middle, z[i]) for i in outliers(values, least_effect=least_effect)]


def _sentence(
    blame: Blame, shares: dict[Blame, float], last: RankTimes, slow: tuple[Slow, ...], thin: tuple[Slow, ...]
) -> str:
    if blame is Blame.NOTHING:
        return f"nothing stands out: {1 - sum(shares.values()):.0%} of the step is a typical rank's own work"
    share = f"{shares[blame]:.0%} of the step"
    match blame:
        case Blame.LINK:
            verdict = f"the link of {names(thin)} takes {share}"
        case Blame.DATA:
            verdict = f"waiting for the images of rank {last.rank} on {last.host} takes {share}"
        case Blame.GPUS if slow:
            verdict = f"waiting for {names(slow)} takes {share}"
        case Blame.GPUS:
            verdict = f"waiting for the last rank takes {share}; no rank stands out"
        case _:
            verdict = f"transfer takes {share}; no link is known to stand out"
    if blame is not Blame.GPUS and slow:
        verb = "computes" if len(slow) == 1 else "compute"
        verdict += f"; {names(slow)} {verb} longer than the others, which takes {shares[Blame.GPUS]:.0%}"
    return verdict
