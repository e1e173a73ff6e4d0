"""Grid algebra beyond the product: exclusions, zipped axes, repeats, order, named grids. Pure.

What is said here are settings of a sweep, never axes: none of it enters a cell's identity.
"""

import ast
import hashlib
import operator
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain, product
from math import prod
from typing import Any, NamedTuple, TypeVar

from launchers.checked import checked
from launchers.errors import UserError, closest
from launchers.text import plural, short
from vit_sweep.plan.plan import PlannedCell
from vit_sweep.plan.point import Point

T = TypeVar("T")
Value = str | int | float | None
Axes = Mapping[str, Value]

NO_GRID = "none"
MOST_POINTS = 100_000
"""Of a study: so many are planned in minutes and about a gigabyte (docs/scale.md)."""
_LONGEST = 1000
"""Characters of a predicate: far above what a person writes, far below what exhausts Python's parser."""
_HOW = "compare axes with == != < <= > >= or in [...], join with and, or, not: 'gpus==8 and batch==128'"


class Order(StrEnum):
    """In which order cells are submitted: tasks inside an array, and arrays among themselves."""

    AS_GIVEN = "as_given"
    LARGEST_FIRST = "largest_first"
    SMALLEST_FIRST = "smallest_first"
    RANDOM = "random"
    """By `order_seed`; the same cells come in the same order, whatever the grid's words were."""


@checked
class GridSpec:
    """A named grid: axes and fixed values that a command line may replace key by key."""

    name: str
    source: str = ""
    """Where the grid comes from and what it shows."""
    axes: dict[str, tuple[str | int | float | bool | None, ...]] = field(default_factory=dict)
    set: dict[str, Any] = field(default_factory=dict)


class Selection(NamedTuple):
    """The points of a sweep after exclusions and repeats, and what a person should know of them."""

    points: list[Point]
    remarks: list[str]


def select(
    points: Sequence[Point], *, exclude: Sequence[str], repeats: int, grids_own: Collection[str] = ()
) -> Selection:
    """Repeat points and drop excluded ones; raises `UserError` for a wrong predicate or when nothing is left.

    A predicate that excludes nothing is remarked on, but not one of a named grid (`grids_own`): its axes were replaced.
    """
    return _without(_repeated(points, repeats), exclude, grids_own)


def require_few(count: float) -> None:
    """Refuse a grid of so many points that nobody would see the end of its planning."""
    if count > MOST_POINTS:
        raise UserError(
            f"the grid has {count:,.0f} points, and a study holds {MOST_POINTS:,} at most (docs/scale.md); "
            "take fewer values of an axis, or share them among several studies with study=NAME"
        )


# --- repeats ----------------------------------------------------------------------------------------


def _repeated(points: Sequence[Point], repeats: int) -> list[Point]:
    """Every point with seed, seed + 1, ...; a whole round after the other, so a study cut short has whole rounds."""
    seeds = sorted({point.seed for point in points})
    if repeats > 1 and len(seeds) > 1:
        raise UserError(
            f"repeats={repeats} seed={','.join(map(str, seeds))}: both say which seeds run, and together they would "
            f"overlap; give one seed (then {repeats} runs from it on), or repeats=1"
        )
    require_few(len(points) * repeats)
    return [p.repeated(p.seed + i) if i else p for i in range(repeats) for p in points]


# --- exclusions -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Predicate:
    """A condition over the axes of a point."""

    text: str
    axes: tuple[str, ...]
    """The axes that it names."""
    holds: Callable[[Axes], bool]


def _without(points: list[Point], exclude: Sequence[str], grids_own: Collection[str]) -> Selection:
    if not exclude or not points:
        return Selection(points, [])
    rows = [point.axes for point in points]
    predicates = [predicate(text, rows[0]) for text in exclude]
    hits = [[p.holds(row) for row in rows] for p in predicates]
    excluded = [any(column) for column in zip(*hits, strict=True)]
    counts = "; ".join(f"{p.text}: {sum(hit)}" for p, hit in zip(predicates, hits, strict=True))
    if all(excluded):
        raise UserError(
            f"exclude: nothing is left of {plural(len(points), 'point')} of the grid ({counts}); loosen or leave out a "
            "predicate"
        )
    remarks = [f"excluded {sum(excluded)} of {len(points)} points ({counts})"]
    for p, hit in zip(predicates, hits, strict=True):
        if not any(hit) and p.text not in grids_own:
            axis_values = ", ".join(f"{axis} is {_values(axis, rows)}" for axis in p.axes)
            remarks.append(f'exclude "{p.text}" excludes nothing: {axis_values}')
    return Selection([point for point, is_excluded in zip(points, excluded, strict=True) if not is_excluded], remarks)


def _values(axis: str, rows: Iterable[Axes]) -> str:
    """The values of an axis over the grid, as a user would write them."""
    return " or ".join("null" if v is None else str(v) for v in dict.fromkeys(row[axis] for row in rows))


def predicate(text: str, known: Collection[str], *, of: str = "exclude") -> Predicate:
    """Read one predicate of the word `of`, without running any of it; raises `UserError` for what is no comparison of
    known axes."""
    try:
        if len(text) > _LONGEST:
            raise ValueError
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        right = re.sub(r"(?<![=!<>])=(?!=)", "==", text)
        how = f"two equals signs compare: {right}" if right != text else _HOW
        raise UserError(f'{of} "{short(text, 80)}": cannot be read – {short(how, _LONGEST)}') from None
    named = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in known]
    return Predicate(text.strip(), tuple(dict.fromkeys(named)), _Reader(text.strip(), known, of).condition(tree))


_EQUALITY: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda value, menu: value in menu,
    ast.NotIn: lambda value, menu: value not in menu,
}
_ORDERING: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
Term = Callable[[Axes], Any]


@dataclass(frozen=True)
class _Reader:
    """Turns the syntax tree of one predicate into a function; anything but comparisons is refused."""

    text: str
    known: Collection[str]
    of: str
    """The word that it is a value of."""

    def condition(self, node: ast.expr) -> Callable[[Axes], bool]:
        match node:
            case ast.BoolOp(op=ast.And(), values=parts):
                conditions = [self.condition(part) for part in parts]
                return lambda axes: all(part(axes) for part in conditions)
            case ast.BoolOp(op=ast.Or(), values=parts):
                alternatives = [self.condition(part) for part in parts]
                return lambda axes: any(part(axes) for part in alternatives)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                inner = self.condition(operand)
                return lambda axes: not inner(axes)
            case ast.Compare(left=left, ops=ops, comparators=rest):
                return self._comparison([left, *rest], ops)
            case _:
                raise self._mistake(f"{ast.unparse(node)} is not a comparison – {_HOW}")

    def _comparison(self, nodes: list[ast.expr], ops: list[ast.cmpop]) -> Callable[[Axes], bool]:
        names = [inner.id for node in nodes for inner in ast.walk(node) if isinstance(inner, ast.Name)]
        if not any(name in self.known for name in names):
            first = ast.unparse(nodes[0])
            raise self._mistake(f"there is no axis {first} – {closest(first, self.known)}")
        for op, right in zip(ops, nodes[1:], strict=True):
            if isinstance(op, ast.In | ast.NotIn) != isinstance(right, ast.List | ast.Tuple | ast.Set):
                raise self._mistake("`in` takes a list of values, and a list takes `in`: batch in [64,128]")
        terms = [self._term(node) for node in nodes]
        pairs = [(self._test(op), terms[i], terms[i + 1]) for i, op in enumerate(ops)]
        return lambda axes: all(test(left(axes), right(axes)) for test, left, right in pairs)

    def _term(self, node: ast.expr) -> Term:
        match node:
            case ast.Name(id=name) if name in self.known:
                return lambda axes: axes[name]
            case ast.Name(id="null"):
                return lambda _: None
            case ast.Name(id=word):
                return lambda _: word
            case ast.Constant(value=None | str() | int() | float() as value) if not isinstance(value, bool):
                return lambda _: value
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return lambda _: -value
            case ast.Attribute():
                raise self._mistake(f"there is no axis {ast.unparse(node)} – {closest(ast.unparse(node), self.known)}")
            case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
                terms = [self._term(part) for part in parts]
                return lambda axes: [term(axes) for term in terms]
            case _:
                raise self._mistake(
                    f"{ast.unparse(node)} is neither an axis, a number nor a word; quote a word like 'a-b'"
                )

    def _test(self, op: ast.cmpop) -> Callable[[Any, Any], bool]:
        if type(op) in _EQUALITY:
            return _EQUALITY[type(op)]
        if type(op) not in _ORDERING:
            raise self._mistake(f"`is` compares nothing here – {_HOW}")
        compare = _ORDERING[type(op)]

        def test(left: Any, right: Any) -> bool:
            if left is None or right is None:
                return False  # an axis without a value is neither above nor below
            if isinstance(left, str) or isinstance(right, str):
                operand = left if isinstance(left, str) else right
                raise self._mistake(f"{operand} is a word, and words have no order; compare it with == or in")
            return compare(left, right)

        return test

    def _mistake(self, why: str) -> UserError:
        return UserError(f'{self.of} "{self.text}": {why}')


# --- zipped axes ------------------------------------------------------------------------------------


def read_zips(value: object) -> list[list[str]]:
    """Check the shape of `zip=[[gpus,batch]]`; raises `UserError`."""
    right = isinstance(value, list) and all(
        isinstance(names, list) and len(names) > 1 and all(isinstance(name, str) for name in names) for names in value
    )
    if not right:
        raise UserError(
            f"zip={_in_grammar(value)}: each zip is a list of two or more axes that advance together; "
            "write zip=[[gpus,batch]], or zip=[[gpus,batch],[model,data]] for two"
        )
    return [list(names) for names in value]  # type: ignore[attr-defined]  # checked above


def columns(axes: Sequence[tuple[str, int]], zips: Sequence[Sequence[str]]) -> list[list[int]]:
    """Group positions of `axes` (key, number of values) that advance together; the first member gives the place.

    Raises `UserError` for an axis that is in two zips, is not swept, or has another number of values.
    """
    text = f"zip={_in_grammar([list(names) for names in zips])}"
    swept = [key for key, count in axes if count > 1]
    leader: dict[int, list[int]] = {}
    used: set[str] = set()
    for names in zips:
        for name in names:
            if name in used:
                raise UserError(f"{text}: {name} is named twice; an axis advances with one zip only")
            if name not in swept:
                menu = f"swept are {', '.join(swept)}" if swept else "nothing is swept"
                raise UserError(f"{text}: {name} is not swept ({menu}); give it several values, or take it out")
            if sum(key == name for key, _ in axes) > 1:
                raise UserError(f"{text}: {name} is given more than once; give all its values in one word")
            used.add(name)
        positions = [next(i for i, (key, _) in enumerate(axes) if key == name) for name in names]
        if len({axes[i][1] for i in positions}) > 1:
            lengths = ", ".join(f"{axes[i][0]} has {axes[i][1]}" for i in positions)
            raise UserError(f"{text}: {lengths} values; axes that advance together need equally many")
        leader[min(positions)] = positions
    follows = {i for positions in leader.values() for i in positions}
    return [leader.get(i, [i]) for i in range(len(axes)) if i in leader or i not in follows]


def combinations(choices: Sequence[Sequence[T]], grouped: Sequence[Sequence[int]]) -> Iterator[tuple[T, ...]]:
    """Multiply the columns; inside one, choices advance together. Every result is in the order of `choices`.

    Raises `UserError` for more than a study can hold.
    """
    require_few(prod(len(choices[column[0]]) for column in grouped))
    tracks = [list(zip(*(choices[i] for i in column), strict=True)) for column in grouped]
    positions = list(chain.from_iterable(grouped))
    back = sorted(range(len(positions)), key=positions.__getitem__)
    for combination in product(*tracks):
        flat = tuple(chain.from_iterable(combination))
        yield tuple(flat[i] for i in back)


def _in_grammar(value: object) -> str:
    """A value in Hydra's grammar, as far as names and lists go."""
    return f"[{','.join(_in_grammar(part) for part in value)}]" if isinstance(value, list) else str(value)


# --- order ------------------------------------------------------------------------------------------


def ordered(cells: Iterable[PlannedCell], order: Order, seed: int) -> list[PlannedCell]:
    """Arrange cells; ties keep the grid's order. Size is GPUs, then predicted GPU-hours, then images of the run."""
    planned = list(cells)
    match order:
        case Order.AS_GIVEN:
            return planned
        case Order.LARGEST_FIRST:
            return sorted(planned, key=_size, reverse=True)
        case Order.SMALLEST_FIRST:
            return sorted(planned, key=_size)
        case Order.RANDOM:
            # By digest and not by shuffling: what is left of a study keeps its order when it is resumed.
            return sorted(planned, key=lambda c: hashlib.sha256(f"{seed} {c.cell.cell_id}".encode()).digest())


def _size(planned: PlannedCell) -> tuple[int, float, int]:
    cell = planned.cell
    return (cell.gpus, planned.gpu_hours, cell.epochs * cell.images_per_epoch)
