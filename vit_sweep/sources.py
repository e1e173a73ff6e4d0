"""Where runs come from: a study's folder, a CSV file, a published study. An edge."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from launchers.checked import checked
from launchers.errors import UserError
from vit_sweep.analysis.run import Run
from vit_sweep.plan_file import PlanFile


@checked
class Source:
    """Runs and what must be said about where they come from."""

    name: str
    runs: tuple[Run, ...]
    notes: tuple[str, ...] = ()
    """What was counted, and what the source says of itself."""
    problems: tuple[str, ...] = ()
    """What was passed over, and why."""

    @property
    def timed(self) -> tuple[Run, ...]:
        """The runs that have a time."""
        return tuple(run for run in self.runs if run.timed)


def source_of(*, study: str | None = None, csv: Path | None = None, reference: str | None = None) -> Source:
    """Read the one source that is given; raises `UserError` unless it is exactly one."""
    given = [word for word in (study, csv, reference) if word is not None]
    if len(given) != 1:
        said = "nothing is" if not given else f"{len(given)} things are"
        raise UserError(f"{said} named; name one of: a study, --csv FILE, --reference NAME")
    if study is not None:
        return from_study(study)
    return from_csv(csv) if csv is not None else from_reference(str(reference))


def from_study(name: str) -> Source:
    """The runs of a study, now; what its folder holds of other versions or other studies is named and left out."""
    from vit_sweep.cli import open_study
    from vit_sweep.reading import Reader, uncollected

    study = open_study(name)
    plan = study.plan_file()
    with uncollected():
        reader = Reader(study, plan)
        runs = {one.run.run_id: one.run for one in reader.read()}
    ordered = tuple(runs[file.cell_id] for file in reader.files)
    strange = strangers(plan, [run.run_id for run in ordered])
    return Source(name=study.name, runs=ordered, problems=(*study.problems, *strange, *_without_time(ordered)))


def strangers(plan: PlanFile | None, cells: Sequence[str]) -> list[str]:
    """Say which cells no plan of the study knows: somebody put them there."""
    known = {cell.cell_id for cell in plan.cells} if plan is not None else set(cells)
    found = [cell for cell in cells if cell not in known]
    if not found:
        return []
    named = ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
    return [f"nothing, but mind: {named} is in no plan of this study; if it was copied from another, remove it"]


def _without_time(runs: Sequence[Run]) -> list[str]:
    """What became of the cells that gave no time, equal reasons counted."""
    reasons = Counter(f"{run.status}: {run.note}" if run.note else run.status for run in runs if not run.timed)
    return [f"{count} cell(s) without a time – {reason}" for reason, count in reasons.most_common(5)]


def from_csv(path: Path) -> Source:
    """The runs of a tidy CSV file."""
    from vit_sweep.imported import read_csv

    found = read_csv(path)
    return Source(
        name=path.name, runs=found.runs, notes=(found.counts.sentence, *found.notes), problems=found.problems
    )  # fmt: skip


def from_reference(name: str) -> Source:
    """The runs of a published study."""
    from vit_sweep.imported import load_reference

    found = load_reference(name)
    notes = (f"{found.facts.title} ({found.facts.source})", found.facts.section, *found.facts.notes)
    return Source(
        name=name,
        runs=found.imported.runs,
        notes=(*notes, found.imported.counts.sentence, *found.imported.notes),
        problems=found.imported.problems,
    )


def collect_csv(
    csv: Path | None, output: Path | None, *, study: str | None, console: Console, target: float | None = None
) -> list[Path]:
    """Write tables and figures of a CSV file into `output`; returns the files, none if no run has a time.

    Raises `UserError` unless just the file is given, and where `output` belongs to a study.
    """
    from vit_sweep.provenance import require_extra

    if csv is None or study is not None:
        raise UserError(f"{'a study and a file are' if csv else 'nothing is'} named; name a study or --csv FILE")
    require_extra("report")
    folder = output or Path("outputs") / csv.stem
    if (folder / "study.json").exists():
        raise UserError(f"{folder} is the folder of a study; name another one with --output FOLDER")
    found = from_csv(csv)
    from vit_sweep.collect import collect_runs

    for note in found.notes:
        console.print(note, soft_wrap=True)
    return collect_runs(found.runs, folder.absolute(), console, problems=found.problems, target=target)
