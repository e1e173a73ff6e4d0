"""What an adaptive sweep is asked: a question about one curve, in words, and the rule that a plan keeps of it. Pure.

    efficiency(64) +- 3 %          a number, to a relative half-width: also time, speedup, throughput
    largest gpus with efficiency 80 % at 95 %

`at 95 %` is the confidence, and may be left out. Which cells answer it is chosen in `analysis.deciding`.
"""

import re
from enum import StrEnum
from typing import Annotated

from launchers.checked import Ge, Gt, Le, Line, Lt, checked
from launchers.errors import UserError, closest, nearest
from launchers.profile import Count

EXAMPLES = (
    'until="efficiency(64) +- 3 %", until="time(16) +- 2 %", or until="largest gpus with efficiency 80 % at 95 %"'
)
CONFIDENCE = 0.95
_MOST_GPUS = 1_000_000


class Design(StrEnum):
    """Which cells of a grid run."""

    GRID = "grid"
    """All of them."""
    ADAPTIVE = "adaptive"
    """Those that narrow the answer to `until` most for their GPU-hours, one round after the other."""


class Quantity(StrEnum):
    """A number of a GPU count that a question may be about."""

    EFFICIENCY = "efficiency"
    SPEEDUP = "speedup"
    TIME = "time"
    """Seconds of an epoch."""
    THROUGHPUT = "throughput"
    """Images of a second, over all GPUs."""

    @property
    def compared(self) -> bool:
        """Whether it is a ratio to the smallest GPU count."""
        return self in (Quantity.EFFICIENCY, Quantity.SPEEDUP)


@checked
class Question:
    """What is to be known, and how well."""

    text: Line
    """As it was asked."""
    quantity: Quantity
    gpus: Count | None
    """Of which count; None: the largest one whose efficiency is `threshold` or more is looked for."""
    half_width: Annotated[float, Gt(0), Le(1)] | None = None
    """Half of the interval as a part of the number: 0.03 is +- 3 % of it."""
    threshold: Annotated[float, Gt(0), Lt(1)] | None = None
    confidence: Annotated[float, Ge(0.5), Lt(1)] = CONFIDENCE


@checked
class DecideRule:
    """What a plan keeps of an adaptive sweep."""

    until: Line
    """The question, as it was asked."""
    budget_gpu_hours: Annotated[float, Gt(0), Le(1e18)]
    most: Count
    """Runs of one cell at most."""


_NUMBER = r"(?P<{}>\d+(?:\.\d+)?)\s*%"
_AT = rf"(?:\s*at\s*{_NUMBER.format('confidence')})?"
_WIDTH = re.compile(
    rf"(?P<quantity>[a-z_/]+)\s*\(\s*(?P<gpus>\d+)\s*(?:gpus?)?\s*\)\s*(?:\+-|±|\+/-|-\+)\s*{_NUMBER.format('width')}{_AT}"
)
_LARGEST = re.compile(
    rf"(?:the\s+)?largest\s+(?:number\s+of\s+)?gpus?(?:\s+count)?\s+with\s+(?P<quantity>[a-z_/]+)\s*"
    rf"(?:>=|≥|=>|of\s+at\s+least|at\s+least|of|above)?\s*{_NUMBER.format('threshold')}(?:\s+or\s+more)?{_AT}"
)
_ALSO = {
    "images/s": Quantity.THROUGHPUT,
    "images_per_s": Quantity.THROUGHPUT,
    "epoch_time": Quantity.TIME,
    "epoch_time_s": Quantity.TIME,
    "seconds": Quantity.TIME,
    "parallel_efficiency": Quantity.EFFICIENCY,
}


def question_of(text: str) -> Question:
    """Read a question; raises `UserError` with the right spelling."""
    normalized = " ".join(text.lower().split())
    if match := _LARGEST.fullmatch(normalized):
        quantity = _quantity(text, match["quantity"])
        if quantity is not Quantity.EFFICIENCY:
            raise _wrong(text, f"the largest count is asked for by its efficiency, not by its {quantity}")
        threshold = float(match["threshold"]) / 100
        if not 0 < threshold < 1:
            raise _wrong(text, f"an efficiency of {match['threshold']} % is no threshold: between 0 and 100 %")
        return Question(
            text=text, quantity=quantity, gpus=None, threshold=threshold, confidence=_confidence(text, match)
        )
    if match := _WIDTH.fullmatch(normalized):
        gpus, width = int(match["gpus"]), float(match["width"]) / 100
        quantity = _quantity(text, match["quantity"])
        if not 1 <= gpus <= _MOST_GPUS:
            raise _wrong(text, f"a GPU count is 1 to {_MOST_GPUS:,}")
        if not 0 < width <= 1:
            raise _wrong(text, f"+- {match['width']} % is no width: above 0 and up to 100 %")
        return Question(text=text, quantity=quantity, gpus=gpus, half_width=width, confidence=_confidence(text, match))
    raise _wrong(text, _slip(normalized))


def _quantity(text: str, word: str) -> Quantity:
    names = [quantity.value for quantity in Quantity]
    if word in names:
        return Quantity(word)
    if word in _ALSO:
        return _ALSO[word]
    raise _wrong(text, f"there is no quantity {word} – {closest(word, names)}")


def _confidence(text: str, match: re.Match[str]) -> float:
    percent = match["confidence"]
    if percent is None:
        return CONFIDENCE
    confidence = float(percent) / 100
    if not 0.5 <= confidence < 1:
        raise _wrong(text, f"at {percent} %: a confidence is 50 % or more, and below 100 %")
    return confidence


def _slip(normalized: str) -> str:
    """What is likely wrong with a text that is no question."""
    if not normalized:
        return "it asks nothing"
    if "%" not in normalized:
        return "how well is said in per cent, with its sign: +- 3 %, efficiency 80 %"
    if re.search(r"\d,\d+\s*%", normalized):
        return "a decimal point, not a comma: 2.5 %"
    if re.search(r"(\+-|±|\+/-|-\+)\s*-", normalized):
        return "the width behind +- is above 0"
    if comparison := re.search(r"<=|≤|>=|≥|<|>|==|~|=", normalized):
        if normalized.startswith("largest"):
            return f"{comparison[0]} is not understood there"
        return f"{comparison[0]} asks nothing here: how well a number is to be known is said by +- 3 %"
    if re.match(r"[a-z_/]+\s*(\d|\+-|±)", normalized):
        return "the GPU count stands in brackets behind the quantity: efficiency(64)"
    word = re.match(r"[a-z]+", normalized)
    if word and nearest(word[0], ["largest"]):
        return "did you mean largest gpus with efficiency 80 %?"
    if re.match(r"[a-z_/]+\s*\(.*,.*\)", normalized):
        return "it is about one GPU count"
    return "it is not understood"


def _wrong(text: str, why: str) -> UserError:
    return UserError(f'until="{text}": {why}; write {EXAMPLES}')
