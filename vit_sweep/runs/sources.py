"""Where runs come from: a study's folder, a CSV file, a published study. An edge."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from launchers.checked import checked
from launchers.errors import UserError
from launchers.text import grouped, plural, some
from vit_sweep.plan.plan_file import strangers
from vit_sweep.runs.reshaping import Reading
from vit_sweep.runs.run import Run
from vit_sweep.runs.tidy.table import nothing_to_compare, total


@checked
class Source:
    """Runs and what must be said about where they come from."""

    name: str
    runs: tuple[Run, ...]
    notes: tuple[str, ...] = ()
    """What was counted, and what the source says of itself."""
    problems: tuple[str, ...] = ()
    """What was passed over, and why."""
    files: tuple[Path, ...] = ()
    """Where the runs of tables were read from."""

    @property
    def timed(self) -> tuple[Run, ...]:
        return tuple(run for run in self.runs if run.timed)


def source_of(
    *,
    study: str | None = None,
    csv: Sequence[str] | None = None,
    reference: str | None = None,
    reading: Reading | None = None,
) -> Source:
    """Read the one source that is given; raises `UserError` unless it is exactly one."""
    sources = sum(bool(source) for source in (study, csv, reference))
    if sources != 1:
        count = "nothing is" if not sources else f"{sources} things are"
        raise UserError(f"{count} named; name one of: a study, --csv FILE, --reference NAME")
    if study is not None:
        return from_study(study)
    return from_csv(csv, reading) if csv else from_reference(str(reference))


def from_study(name: str) -> Source:
    """The runs of a study, now; what its folder holds of other versions or other studies is named and left out."""
    from vit_sweep.runs.garbage import gc_paused
    from vit_sweep.runs.imported import reference_names
    from vit_sweep.runs.reading import Reader, in_order
    from vit_sweep.study.store import open_study

    try:
        study = open_study(name)
    except UserError as error:
        if name not in reference_names():
            raise
        raise UserError(f"{name} is a published study, not one of yours: write --reference {name}") from error
    plan = study.plan_file()
    with gc_paused():
        ordered = tuple(read.run for read in in_order(Reader(study, plan).read()))
    strange = strangers(plan, [run.run_id for run in ordered])
    return Source(name=study.name, runs=ordered, problems=(*study.problems, *strange, *_without_time(ordered)))


def _without_time(runs: Sequence[Run]) -> list[str]:
    """What became of the cells that gave no time, equal reasons counted."""
    reasons = Counter(f"{run.status}: {run.note}" if run.note else run.status for run in runs if not run.timed)
    return [f"{plural(count, 'cell')} without a time – {reason}" for reason, count in reasons.most_common(5)]


def from_csv(words: Sequence[str], reading: Reading | None = None) -> Source:
    """The runs of files or patterns: runs of different files are repeats, or cells of their own, unless the files are
    of different ranks.

    Raises `UserError` where a pattern matches nothing, or a file cannot be read.
    """
    from vit_sweep.runs.imported import read_csv, read_tables, short_names

    paths, read_as = _files_of(words), reading or Reading()
    several = len(paths) > 1
    tables = read_tables(paths, read_as) if several else {str(paths[0]): read_csv(paths[0], reading=read_as)}
    runs = tuple(run for table in tables.values() for run in table.runs)
    counts = total(table.counts for table in tables.values())
    notes = [counts.sentence, *_once({name: table.notes for name, table in tables.items()})]
    if several:
        notes += nothing_to_compare(runs)
        notes.insert(0, f"{len(paths)} files: {some(short_names(paths), 3)}")
    return Source(
        name=paths[0].name + (f" and {len(paths) - 1} more" if several else ""),
        runs=runs,
        notes=tuple(notes),
        problems=tuple(_once({name: table.problems for name, table in tables.items()})),
        files=tuple(paths),
    )


def words_of(csv: Sequence[str], reading: Reading, reference: str | None = None) -> str:
    """The same options as one types them again; `reference`: a published study in place of files."""
    words = [part for name in csv for part in ("--csv", name)] or ["--reference", str(reference)]
    words += [part for ours, theirs in reading.columns for part in ("--map", f"{ours}={theirs}")]
    words += [part for name, value in reading.constants for part in ("--set", f"{name}={value}")]
    words += [
        part
        for option in ("decimal", "sheet")
        if (value := getattr(reading, option))
        for part in (f"--{option}", value)
    ]
    return shlex.join(words)


def _files_of(words: Sequence[str]) -> list[Path]:
    """Files, and what patterns match, each once; raises `UserError` for a pattern that matches nothing."""
    paths: dict[Path, None] = {}
    for name in words:
        if not any(mark in name for mark in "*?[") or Path(name).exists():
            paths[Path(name)] = None
            continue
        pattern = Path(name)
        inside = Path(pattern.anchor or ".")
        matches = sorted(path for path in inside.glob(str(pattern.relative_to(pattern.anchor))) if path.is_file())
        if not matches:
            raise UserError(f"--csv {name}: no file matches this pattern")
        paths |= dict.fromkeys(matches)
    return list(paths)


def _once(texts: Mapping[str, Sequence[str]]) -> list[str]:
    """What all files say, once; what only some say, with their name."""
    names = grouped((text, name) for name, file_texts in texts.items() for text in file_texts)
    return [text if len(own) == len(texts) else f"{some(own, 2)}: {text}" for text, own in names.items()]


def from_reference(name: str) -> Source:
    """The runs of a published study."""
    from vit_sweep.runs.imported import load_reference

    published = load_reference(name)
    facts, imported = published.facts, published.imported
    notes = (f"{facts.title} ({facts.source})", facts.section, *facts.notes)
    return Source(
        name=name,
        runs=imported.runs,
        notes=(*notes, imported.counts.sentence, *imported.notes),
        problems=imported.problems,
        files=(published.file,),
    )
