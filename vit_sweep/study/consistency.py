"""What must hold in a study's folder, as rules over names, journal and attempts. Pure; `check` reads the folder."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import Enum

from vit_sweep.record.attempt import attempt_of
from vit_sweep.study.journal import Event, JobEntry

LEFTOVER = r"\..*\.tmp|\.reserve-rank\d+"
"""What a writer that is killed leaves behind: a file written aside, a rank's room for its last word."""
_FIXED = (
    r"study\.json|plan\.json|jobs\.jsonl|deciding\.json|decisions\.jsonl|\.lock|\.lock\.owner|report\.html|cells|jobs|stops|tables|figures|\.code",
    r"proposal\.md|extra-p\.json|mlperf(/[^/]+\.log)?|\.(runs|done|collected)-\d+",
    r"(tables|figures|tensorboard|wandb|mlflow)/.*|tensorboard|wandb|mlflow",
    r"\.code/[0-9a-f]{12}(/.*)?",
    r"stops/n\d[^/]*\.json",
)
_JOBS = (
    r"jobs/[^/]+",
    r"(batch|forecast)\.json|job(-\d+)?\.(sh|sbatch)|rank\.sh|hostfile(-\d+)?|\.submitting",
    r"queue\.(json|log)|states\.json|(cancel|starts)(/\d+)?|logs(/.*)?|mpirun-\d+(\.\d+)?\.log",
)
_CELLS = (
    r"cells/[^/]+",
    r"cell\.json|dropped\.json|ds_config\.json|record\.json|\.summary|mlflow_run|attempts|checkpoint(/.*)?",
    r"attempts/[1-9]\d*(\.[1-9]\d*)?",
)
_ATTEMPT = (
    r"rank\d+\.(json|log)|claim\.json|exit\.json|progress\.json|rendezvous-[^/]*\.json|trace[^/]*\.json(\.gz)?|"
    r"comms\.txt|flops_profile\.txt"
)
_KNOWN = re.compile(
    "|".join(
        [
            *_FIXED,
            _JOBS[0],
            *(rf"{_JOBS[0]}/({names})" for names in _JOBS[1:]),
            _CELLS[0],
            *(rf"{_CELLS[0]}/({names})" for names in _CELLS[1:]),
            rf"{_CELLS[0]}/{_CELLS[2]}/({_ATTEMPT})",
        ]
    )
)


class Kind(Enum):
    """What a name in a study's folder is."""

    KNOWN = "known"
    LEFTOVER = "leftover"
    """Left by a writer that was killed, or of one that is at work now."""
    UNKNOWN = "unknown"


def kind_of(path: str) -> Kind:
    """What the file or folder at `path`, relative to the study, is."""
    if re.fullmatch(LEFTOVER, path.rsplit("/", 1)[-1]):
        return Kind.LEFTOVER
    return Kind.KNOWN if _KNOWN.fullmatch(path) else Kind.UNKNOWN


def of_journal(entries: Sequence[JobEntry]) -> Iterator[str]:
    """What contradicts itself in a journal: answers to nothing, attempts submitted twice, numbers left out."""
    opened: dict[str, tuple[tuple[str, int], ...]] = {}
    owner: dict[tuple[str, int], str] = {}
    highest: Counter[str] = Counter()
    for number, entry in enumerate(entries, start=1):
        line = f"jobs.jsonl, submission {number} ({entry.event.value} {entry.batch})"
        if entry.event is Event.SUBMITTING:
            opened[entry.batch] = entry.tasks
            for cell, attempt in entry.tasks:
                if attempt > highest[cell] + 1:
                    yield f"{line}: attempt {attempt} of {cell} follows attempt {highest[cell]}"
                highest[cell] = max(highest[cell], attempt)
        elif entry.event is not Event.CANCELLED and entry.tasks != opened.pop(entry.batch, None):
            yield f"{line}: no line before it says that this was being submitted"
        if entry.event is Event.SUBMITTED:
            for cell, attempt in entry.tasks:
                first_batch = owner.setdefault((cell, attempt), entry.batch)
                if first_batch != entry.batch:
                    yield f"{line}: attempt {attempt} of {cell} was submitted before, with {first_batch}"
        for cell, twice in Counter(cell for cell, _ in entry.tasks).items():
            if twice > 1:
                yield f"{line}: {cell} stands in it {twice} times"


def of_attempts(
    cell: str, attempts: Sequence[str], submitted: Collection[tuple[str, int]], *, recorded: str | None
) -> list[str]:
    """What is wrong with a cell's attempts: those that nobody submitted, and a record of an attempt that never was.

    `submitted`: cell and attempt of everything in the journal.
    """
    findings = [
        f"cells/{cell}/attempts/{name}: jobs.jsonl knows no attempt {attempt_of(name)} of this cell"
        for name in attempts
        if (cell, attempt_of(name)) not in submitted
    ]
    if recorded is not None and recorded not in attempts:
        findings.append(f"cells/{cell}/record.json is of attempt {recorded}, which has no folder")
    return findings


def of_cells(planned: Iterable[str], cells: Mapping[str, str]) -> Iterator[str]:
    """Cells of the plan without a folder, and cells that are not their own digest (`cells`: id by folder's name)."""
    for cell in sorted(set(planned) - cells.keys()):
        yield f"plan.json names cell {cell}, whose cells/{cell}/cell.json is absent or damaged"
    for name, digest in sorted(cells.items()):
        if name != digest:
            yield f"cells/{name}/cell.json is not what its name says: its fields make {digest}"
