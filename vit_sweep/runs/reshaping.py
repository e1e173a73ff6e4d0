"""From the columns that a table has to those that are understood: renamed, added, one per epoch, decimal commas.

Pure but for pandas. What is ambiguous is not guessed: a sentence names the option that settles it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from launchers.checked import checked
from launchers.errors import UserError, closest
from launchers.text import some
from vit_sweep.runs.tidy.columns import COLUMNS, NUMBERS, PARTS, is_number

if TYPE_CHECKING:
    import pandas as pd

DECIMALS = ("comma", "point")


@checked
class Reading:
    """What a user says of a table beyond what it says itself."""

    columns: tuple[tuple[str, str], ...] = ()
    """A column that is understood, and its name in the table."""
    constants: tuple[tuple[str, str], ...] = ()
    """A column that the table lacks, and its value in every row."""
    decimal: str | None = None
    """comma or point; None: as the numbers show."""
    sheet: str | None = None
    """Of a workbook."""

    @property
    def known(self) -> tuple[str, ...]:
        """Names by which a header is recognised."""
        return (*COLUMNS, *(theirs for _, theirs in self.columns))


def reading_of(
    maps: Iterable[str] | None = None,
    constants: Iterable[str] | None = None,
    *,
    decimal: str | None = None,
    sheet: str | None = None,
) -> Reading:
    """Of the words `gpus=num_gpus` and `data=cifar10`; raises `UserError` with what is wrong about one."""
    if decimal is not None and decimal not in DECIMALS:
        raise UserError(f"decimal={decimal}: {closest(decimal, DECIMALS)}")
    return Reading(
        columns=tuple((ours, theirs.lower()) for ours, theirs in (_pair("map", pair) for pair in maps or ())),
        constants=tuple(_constant(*_pair("set", pair)) for pair in constants or ()),
        decimal=decimal,
        sheet=sheet,
    )


def _pair(option: str, text: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    name, value = name.strip().lower(), value.strip()
    if not mark or not value:
        raise UserError(f"--{option} {text}: write COLUMN={'THEIRS' if option == 'map' else 'VALUE'}")
    if name not in COLUMNS:
        raise UserError(f"--{option} {text}: no column is called {name} – {closest(name, list(COLUMNS))}")
    return name, value


def _constant(name: str, value: str) -> tuple[str, str]:
    try:
        COLUMNS[name].read(value)
    except ValueError as error:
        raise UserError(f"--set {name}={value}: {error}") from None
    return name, value


def renamed(names: Sequence[str], reading: Reading, *, source: str) -> list[str]:
    """The columns by the names that are understood; raises `UserError` where `--map` names one that is not there."""
    columns = list(names)
    for ours, theirs in reading.columns:
        if theirs not in names:
            raise UserError(f"--map {ours}={theirs}: {source} has no such column – {closest(theirs, list(names))}")
        if ours in names and ours != theirs:
            columns[names.index(ours)] = f"{ours} (of the table)"
        columns[names.index(theirs)] = ours
    return columns


_SECONDS = {
    **dict.fromkeys(("s", "sec", "seconds"), 1.0),
    **dict.fromkeys(("ms", "milliseconds"), 0.001),
    **dict.fromkeys(("min", "minutes"), 60.0),
    **dict.fromkeys(("h", "hours"), 3600.0),
}


def recognised(names: Sequence[str]) -> tuple[list[str], dict[str, float], list[str]]:
    """Columns spelled in another way, by the names that are understood: `epoch time (s)`, `epoch_time_ms`.

    Also the factor for the numbers of such a column, and a note for the reader.
    """
    columns, factors, notes = list(names), dict[str, float](), list[str]()
    for place, name in enumerate(names):
        if name in COLUMNS:
            continue
        column, factor = re.sub(r"[^a-z0-9]+", "_", name).strip("_"), 1.0
        stem, _, unit = column.rpartition("_")
        if column not in COLUMNS and unit in _SECONDS:
            own = next((base_unit for base_unit in ("s", "ms") if f"{stem}_{base_unit}" in COLUMNS), "")
            column, factor = f"{stem}_{own}", _SECONDS[unit] / _SECONDS.get(own, 1.0)
        if column in COLUMNS and column not in columns:
            columns[place] = column
            factors |= {} if factor == 1 else {column: factor}
            notes.append(f"{name} is read as {column}" + ("" if factor == 1 else f", its numbers times {factor:g}"))
    return columns, factors, notes


_EPOCH = re.compile(
    r"(?:(?P<measure>.+?)[ _-]+)??(?:epoch|ep|e)?[ _-]*(?P<number>\d+)(?:[ _-]*time)?"
    r"(?P<unit>[ _(\[-]*(?:s|sec|seconds)[)\]]?)?"
)
_BY_EPOCH = ("epoch_time_s", "test_accuracy", "train_accuracy", "accuracy", "step_ms", "communication_ms", "compute_ms")


def by_epoch(names: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Of a wide table the columns that are of one epoch: the measure and the number of the epoch; else nothing.

    `epoch_1`, `e1`, `1` are times; `test_accuracy_1`, `epoch_time_s_1` say what they are.
    """
    if "epoch" in names:
        return {}
    columns = {}
    for name in names:
        match = _EPOCH.fullmatch(name)
        if match and name not in COLUMNS and (match["measure"] or "epoch_time_s") in _BY_EPOCH:
            columns[name] = (match["measure"] or "epoch_time_s", int(match["number"]))
    numbers = sorted({number for measure, number in columns.values() if measure == "epoch_time_s"})
    consecutive = bool(numbers) and numbers == list(range(numbers[0], numbers[0] + len(numbers))) and numbers[0] < 2
    return columns if consecutive else {}


def long(frame: "pd.DataFrame") -> tuple["pd.DataFrame", list[str]]:
    """One row per epoch, of a table with one column per epoch; the index stays the line. Else as it is."""
    import pandas as pd

    columns = by_epoch([str(name) for name in frame.columns])
    if not columns:
        return frame, []
    measures = list(dict.fromkeys(measure for measure, _ in columns.values()))
    wide = frame.rename(columns={name: f"{measure}\0{number}" for name, (measure, number) in columns.items()})
    wide["line"] = wide.index
    long_form = pd.wide_to_long(wide, measures, i="line", j="epoch", sep="\0", suffix=r"\d+").reset_index().fillna("")
    long_form = long_form[long_form["epoch_time_s"].astype(str).str.strip() != ""].set_index("line")
    long_form["epoch"] = long_form["epoch"].astype(str)
    last = max(number for _, number in columns.values())
    return long_form, [f"one column per epoch: {some(columns, 3)} are read as epochs up to {last}"]


_GROUPED = re.compile(r"(?<=\d)['’\u00a0\u202f\u2009 ](?=\d{3}(?!\d))")


def without_units(frame: "pd.DataFrame") -> tuple["pd.DataFrame", list[str]]:
    """Numbers without their unit (`20.5 s`) and without the marks of thousands that nothing else can be (`1'234`)."""
    cleaned, examples = frame.copy(), dict[str, str]()
    for name in frame.columns:
        if name not in NUMBERS:
            continue
        column_unit = str(name).rpartition("_")[2]
        spellings = "|".join(word for word, seconds in _SECONDS.items() if seconds == _SECONDS.get(column_unit))
        unit = re.compile(rf"(?<=\d)\s*(?:{spellings})$") if spellings else None
        texts = [str(text).strip() for text in frame[name]]
        plain = [_GROUPED.sub("", text) for text in texts]
        cleaned[name] = [unit.sub("", text) for text in plain] if unit else plain
        examples |= {text: new for text, new in zip(texts, cleaned[name], strict=True) if text != new}
    return cleaned, [f"numbers are read without unit and marks of thousands: {_first(examples)}"] if examples else []


_PERCENT_SHARE, _PERCENT_TOP = 0.75, 5.0
"""Accuracies of which so many are above 1, and one above this, are percentages; a few are mistakes."""


def scaled(frame: "pd.DataFrame", factors: Mapping[str, float]) -> tuple["pd.DataFrame", list[str]]:
    """Numbers in the unit of their column: times `factors`, and percentages of images as parts."""
    converted, notes = frame.copy(), []
    for name in frame.columns:
        texts = [str(text).strip() for text in frame[name]]
        values = [float(text.removesuffix("%")) for text in texts if is_number(text.removesuffix("%"))]
        factor = factors.get(name, 1.0)
        if name in PARTS and values and max(values) <= 100:
            signs = sum(text.endswith("%") for text in texts) == len(values)
            above = sum(value > 1 for value in values) >= _PERCENT_SHARE * len(values)
            if signs or (above and max(values) > _PERCENT_TOP):
                factor = 0.01
                notes.append(f"{name} is read as percentages, up to {max(values):g}%")
        if factor != 1:
            converted[name] = [
                repr(factor * float(text.removesuffix("%"))) if is_number(text.removesuffix("%")) else text
                for text in texts
            ]
    return converted, notes


_COMMA = re.compile(r"[+-]?\d{1,3}(?:\.\d{3})*,\d+|[+-]?\d+,\d+(?:[eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")


def with_decimal_points(frame: "pd.DataFrame", reading: Reading, *, source: str) -> tuple["pd.DataFrame", list[str]]:
    """Numbers with decimal points and without marks of thousands; raises `UserError` where `1,234` may be either."""
    columns = [name for name in frame.columns if name in NUMBERS]
    texts = {text.strip() for name in columns for text in frame[name] if "," in text}
    if not texts:
        return frame, []
    commas, thousands = ({text for text in texts if form.fullmatch(text)} for form in (_COMMA, _THOUSANDS))
    decimal = reading.decimal
    if decimal is None and commas - thousands and thousands - commas:
        raise UserError(
            f"{source}: commas are decimal in {_first(commas - thousands)} and thousands in "
            f"{_first(thousands - commas)}; say which with --decimal comma or --decimal point"
        )
    if decimal is None and not (commas ^ thousands):
        raise UserError(
            f"{source}: {_first(texts)} may be a decimal number or thousands; say which with --decimal comma or "
            "--decimal point"
        )
    decimal = decimal or ("comma" if commas - thousands else "point")
    old, new = ({".": "", ",": "."}, "decimal commas") if decimal == "comma" else ({",": ""}, "commas of thousands")
    converted = frame.copy()
    for name in columns:
        converted[name] = [_translated(text, old) if "," in text else text for text in frame[name]]
    return converted, [f"read with {new}: {_first(texts)}"]


def _translated(text: str, marks: Mapping[str, str]) -> str:
    for old, new in marks.items():
        text = text.replace(old, new)
    return text


def _first(texts: Iterable[str]) -> str:
    return min(texts, default="")
