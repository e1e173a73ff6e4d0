"""Where runs come from: a study's folder, a CSV file, a published study. An edge."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from launchers.checked import checked
from launchers.errors import UserError
from vit_sweep.plan.plan_file import strangers
from vit_sweep.runs.run import Run


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
    from vit_sweep.runs.reading import Reader, uncollected
    from vit_sweep.study.store import open_study

    study = open_study(name)
    plan = study.plan_file()
    with uncollected():
        reader = Reader(study, plan)
        runs = {one.run.run_id: one.run for one in reader.read()}
    ordered = tuple(runs[file.cell_id] for file in reader.files)
    strange = strangers(plan, [run.run_id for run in ordered])
    return Source(name=study.name, runs=ordered, problems=(*study.problems, *strange, *_without_time(ordered)))


def _without_time(runs: Sequence[Run]) -> list[str]:
    """What became of the cells that gave no time, equal reasons counted."""
    reasons = Counter(f"{run.status}: {run.note}" if run.note else run.status for run in runs if not run.timed)
    return [f"{count} cell(s) without a time – {reason}" for reason, count in reasons.most_common(5)]


def from_csv(path: Path) -> Source:
    """The runs of a tidy CSV file."""
    from vit_sweep.runs.imported import read_csv

    found = read_csv(path)
    return Source(name=path.name, runs=found.runs, notes=(found.counts.sentence, *found.notes), problems=found.problems)


def from_reference(name: str) -> Source:
    """The runs of a published study."""
    from vit_sweep.runs.imported import load_reference

    found = load_reference(name)
    notes = (f"{found.facts.title} ({found.facts.source})", found.facts.section, *found.facts.notes)
    return Source(
        name=name,
        runs=found.imported.runs,
        notes=(*notes, found.imported.counts.sentence, *found.imported.notes),
        problems=found.imported.problems,
    )
