"""Which cells of two studies are the same: pairs, and what has no partner and why. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from launchers.checked import checked
from launchers.errors import UserError, closest
from launchers.text import grouped, plural, some
from vit_sweep.runs.run import Run

WAYS = frozenset(
    {"engine", "optimizer", "partition", "gpu_model", "partition.cpus_per_gpu", "precision", "compile", "attention"}
    | {"activation_checkpointing", "allocation", "sequence", "sequence_method", "data.pipeline", "nodes", "placement"}
    | {"host", "epochs", "warmup_steps", "schedule", "lr_scaling", "lr_warmup_epochs"}
)
"""What may differ between two runs whose epochs are the same work: the same images through the same model."""
SOFTWARE, MACHINE = "software", "machine"
"""What may differ beside conditions, where `across` names it."""
Words = tuple[tuple[str, str], ...]


@checked
class Unpaired:
    """A cell that is compared with nothing."""

    side: str
    """a or b."""
    cell: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """The runs of one cell: repeats that differ in their seed at most."""

    gpus: int
    words: Words
    """Everything that must be equal, as far as it is known: nodes, batch, accumulation, images, conditions."""
    runs: tuple[Run, ...]
    unlike: str = ""
    """What some of its runs differ in that was let differ between the studies: they are no repeats of each other."""

    @property
    def timed(self) -> tuple[Run, ...]:
        """Those that have a time and whose ranks had a core each."""
        return tuple(run for run in self.runs if run.timed and not run.oversubscribed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """Two studies, cell by cell."""

    pairs: tuple[tuple[Cells, Cells], ...]
    unpaired: tuple[Unpaired, ...]
    one_sided: tuple[str, ...]
    """Conditions that only one side names: nobody can say that they are equal."""


_SEVERAL = "several cells of the first study agree with one of the second in all that both say"


def pair(a: Iterable[Run], b: Iterable[Run], *, across: Sequence[str] = (), untimed: bool = False) -> Pairing:
    """Pair cells of `a` and `b` that agree in all that both know; conditions named in `across` may differ.

    `untimed`: also cells without a time that counts.

    `engine` in `across` stands for `engine.stage` and all other values behind the name, too. Runs of one side that
    differ in it are not pooled: nobody can say which of them is meant.
    """
    runs_a, runs_b = list(a), list(b)
    require_known(across, (name for run in (*runs_a, *runs_b) for name, _ in words_of(run)))
    cells_a, cells_b = cells_of(runs_a, across), cells_of(runs_b, across)
    both = _names(cells_a) & _names(cells_b)
    partners = grouped(((cells.gpus, _only(cells.words, both)), cells) for cells in cells_b)
    pairs: list[tuple[Cells, Cells]] = []
    unpaired: list[Unpaired] = []
    used: set[int] = set()
    claimed = Counter((cells.gpus, _only(cells.words, both)) for cells in cells_a)
    for cells in cells_a:
        key = (cells.gpus, _only(cells.words, both))
        candidates = partners.get(key, [])
        used |= {id(candidate) for candidate in candidates}
        why = _problem(cells, candidates, cells_b, untimed=untimed) or (_SEVERAL if claimed[key] > 1 else "")
        if why:
            unpaired.append(Unpaired(side="a", cell=title_of(cells), reason=why))
        else:
            pairs.append((cells, candidates[0]))
    unpaired += [
        Unpaired(side="b", cell=title_of(cells), reason=_problem(cells, [], cells_a, untimed=untimed))
        for cells in cells_b
        if id(cells) not in used
    ]
    one_sided = tuple(sorted(_names(cells_a) ^ _names(cells_b)))
    return Pairing(pairs=tuple(pairs), unpaired=tuple(unpaired), one_sided=one_sided)


def require_known(across: Sequence[str], names: Iterable[str]) -> None:
    """Refuse to let differ what nothing is called; `names`: what the runs state."""
    stated = {*names, SOFTWARE, MACHINE, *WAYS}
    stated |= {name.split(".", 1)[0] for name in stated}
    for name in across:
        if name not in stated:
            raise UserError(f"across={name}: the runs state nothing of this name – {closest(name, stated)}")


def cells_of(runs: Iterable[Run], across: Sequence[str] = ()) -> list[Cells]:
    """The cells of runs, smallest first."""
    groups: dict[tuple[int, Words], dict[str, Run]] = {}
    for run in runs:
        groups.setdefault((run.gpus, words_of(run, across)), {})[run.run_id] = run
    return [
        Cells(gpus=key[0], words=key[1], runs=tuple(by_id.values()), unlike=_unlike(by_id.values(), across))
        for key, by_id in sorted(groups.items())
    ]


def _unlike(runs: Iterable[Run], across: Sequence[str]) -> str:
    """What runs that agree in all else differ in, of what is named in `across`: `images (1347, 134)`."""
    if not across:
        return ""
    values: dict[str, dict[str, None]] = {}
    for run in runs:
        for name, value in words_of(run):
            values.setdefault(name, {})[value] = None
    several = {name: list(distinct) for name, distinct in values.items() if len(distinct) > 1}
    # `engine.zero_stage` says nothing new beside `engine`.
    names = [name for name in several if "." not in name or name.split(".", 1)[0] not in several]
    return "; ".join(f"{name} ({some(several[name], 3)})" for name in names)


def words_of(run: Run, across: Sequence[str] = ()) -> Words:
    """Everything that must be equal in a pair, as far as the run says it, without what is named in `across`."""
    placements = sorted({curve.placement for curve in run.curves if curve.placement})
    values = {
        "nodes": run.nodes,
        # Where machines are counted, the word for their arrangement says nothing new.
        "placement": " ".join(placements) if run.nodes is None and run.gpus > 1 else None,
        "batch": run.micro_batch,
        "accum": run.accum,
        "images": run.work,
        **dict(run.conditions),
    }
    return tuple(
        sorted(
            (name, str(value))
            for name, value in values.items()
            if value not in (None, "") and not any(name == axis or name.startswith(f"{axis}.") for axis in across)
        )
    )


def _names(cells: Iterable[Cells]) -> set[str]:
    return {name for cell in cells for name, _ in cell.words}


def _only(words: Words, names: set[str]) -> Words:
    return tuple((name, value) for name, value in words if name in names)


def _problem(cells: Cells, candidates: Sequence[Cells], others: Sequence[Cells], *, untimed: bool) -> str:
    """Why there is no pair; empty if there is one."""
    if len(candidates) > 1:
        return f"{len(candidates)} cells of the other study agree with it in all that both say"
    for cell in (cells, *candidates):
        if cell.unlike:
            whose = "its" if cell is cells else "the other study's"
            return f"{whose} runs differ in {cell.unlike}, so they are no repeats of each other; compare one at a time"
        if not cell.timed and not untimed:
            first = cell.runs[0]
            return f"{first.run_id} has no time that counts: {first.cause or first.status}"
    if candidates:
        return ""
    near = [other for other in others if other.gpus == cells.gpus]
    if not near:
        return f"the other study has no run on {plural(cells.gpus, 'GPU')}"
    closest = min(near, key=lambda other: len(differing(cells.words, other.words)))
    names = differing(cells.words, closest.words)
    own, other = dict(cells.words), dict(closest.words)
    return f"the nearest cell differs in {some((f'{n} ({own[n]} here, {other[n]} there)' for n in names), 3)}"


def differing(a: Words, b: Words) -> list[str]:
    """Names that both know and that differ; values behind a name that itself differs are not counted."""
    values, other_values = dict(a), dict(b)
    names = [name for name in values if name in other_values and values[name] != other_values[name]]
    return [name for name in names if "." not in name or name.split(".", 1)[0] not in names]


def title_of(cells: Cells) -> str:
    """What a cell is called: its GPUs, nodes, batch and work."""
    known = dict(cells.words)
    words = [
        f"gpus={cells.gpus}",
        *(f"{name}={known[name]}" for name in ("nodes", "placement", "batch", "accum", "images") if name in known),
    ]
    return " ".join(words)
