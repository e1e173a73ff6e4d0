"""Runs that others measured: their tables, and the published studies that are shipped. An edge."""

import shlex
from collections.abc import Mapping
from os import PathLike, fsdecode
from pathlib import Path
from typing import TYPE_CHECKING

from launchers.errors import UserError
from launchers.invocation import SCRIPT
from vit_sweep.api.results import Results
from vit_sweep.runs.reshaping import reading_of
from vit_sweep.runs.sources import Source, from_csv, from_reference, words_of

if TYPE_CHECKING:
    from vit_sweep.report.assemble import ReportOptions
    from vit_sweep.report.gather import Gathered
    from vit_sweep.report.page.content import ReportContent


class Imported(Results):
    """Runs that were read from somebody's files."""

    def __init__(self, source: Source, words: str) -> None:
        """Hold what was read; `words`: the options of a command that read the same."""
        self._source, self._words = source, words

    def __repr__(self) -> str:
        return f"<{len(self._source.runs)} runs of {self.name}>"

    @property
    def name(self) -> str:
        """Of the file, or of the published study."""
        return self._source.name

    def source(self) -> Source:
        """Its `runs` as objects, `notes` on how they were read, and `problems` with what was left out."""
        return self._source

    def _gathered(self) -> "Gathered":
        from vit_sweep.report.gather import gather_runs

        return gather_runs(self._source.runs, problems=self._source.problems)

    def _content(self, output: Path | None, options: "ReportOptions") -> "tuple[ReportContent | None, Path]":
        from vit_sweep.report.assemble import content_of_tables
        from vit_sweep.report.output_paths import folder_of, page_path

        folder = folder_of(self._source, output.parent if output is not None else None).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        path = page_path(output, folder)
        command = f"{SCRIPT} report {self._words}"
        return content_of_tables(self._source, folder, command=command, options=options), path


def read_csv(
    *files: str | PathLike[str],
    map: Mapping[str, str] | None = None,
    set: Mapping[str, object] | None = None,
    decimal: str | None = None,
    sheet: str | None = None,
) -> Imported:
    """Read somebody's results: CSV, .gz, .xlsx, logs, or patterns like 'runs/*.csv' (docs/results/import.md).

    `map`: what the file calls a column, {"gpus": "num_gpus"}; `set`: a column that it lacks, {"data": "cifar10"};
    `decimal`: comma or point, what the commas in its numbers are; `sheet`: of a workbook with several. Raises
    `UserError` with the lines and columns that cannot be read.
    """
    names = [fsdecode(file) for file in files]
    if not names:
        raise UserError("no file is named; give one, or a pattern like 'runs/*.csv'")
    reading = reading_of(_pairs(map), _pairs(set), decimal=decimal, sheet=sheet)
    return Imported(from_csv(names, reading), words_of(names, reading))


def published(name: str) -> Imported:
    """A published study that is shipped: paper_cifar100. Raises `UserError` with the names for another one."""
    return Imported(from_reference(name), shlex.join(("--reference", name)))


def _pairs(options: Mapping[str, object] | None) -> list[str]:
    return [f"{name}={value}" for name, value in (options or {}).items()]
