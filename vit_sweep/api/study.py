"""A study by its folder. An edge."""

from datetime import UTC, datetime
from os import PathLike, fsdecode
from pathlib import Path
from typing import TYPE_CHECKING

from launchers.errors import UserError
from launchers.local.processor import core_flops
from vit_sweep.api.results import Results, as_html
from vit_sweep.outcome.eta import Forecast
from vit_sweep.outcome.result import Result
from vit_sweep.report.tables.status import counted, forecast, left, status_table
from vit_sweep.runs.imported import reference_names
from vit_sweep.runs.sources import Source, from_study
from vit_sweep.study.code.provenance import require_extra
from vit_sweep.study.status import settled_results
from vit_sweep.study.store import Study as Store
from vit_sweep.study.store import open_study

if TYPE_CHECKING:
    from pandas import DataFrame

    from vit_sweep.report.assemble import ReportOptions
    from vit_sweep.report.gather import Gathered
    from vit_sweep.report.page.content import ReportContent


class Study(Results):
    """A study: what was asked, what became of it, what it says."""

    def __init__(self, folder: Path) -> None:
        """Name its folder; `open` finds it and says what is wrong."""
        self.folder = folder

    def __repr__(self) -> str:
        """As one would open it."""
        return f"vit_sweep.open({str(self.folder)!r})"

    def __fspath__(self) -> str:
        """Its folder: a study stands where its folder may."""
        return str(self.folder)

    @property
    def name(self) -> str:
        """Its folder's."""
        return self.folder.name

    def source(self) -> Source:
        """Its `runs` as objects, and `problems`: files that were passed over, and why."""
        return from_study(str(self.folder))

    def status(self) -> "DataFrame":
        """One row per cell, cells under way included: state, attempt, epoch, `seconds_left`, detail, ...

        Columns and units as in docs/reference/columns.md, also in `attrs`. The scheduler is asked. Raises `UserError`
        without the extra `report`.
        """
        require_extra("report")
        from vit_sweep.report.frames import frame

        results, expected, now = self._look()
        return frame(status_table(results, expected, now=now))

    def wait(self) -> "DataFrame":
        """Stay until every cell has ended, retry what is to be retried, and return `status()`.

        An interrupt ends the waiting, not the jobs.
        """
        from vit_sweep.api.sweeping import watched

        watched(self._store())
        return self.status()

    def _store(self) -> Store:
        """Opened anew for each look, so that what was wrong with a file is said of this look alone."""
        return open_study(str(self.folder))

    def _look(self) -> tuple[list[Result], Forecast, datetime]:
        store = self._store()
        results, now = settled_results(store), datetime.now(UTC)
        return results, forecast(results, store.plan_file(), now=now, core_flops=core_flops()), now

    def _gathered(self) -> "Gathered":
        from vit_sweep.report.gather import gather

        return gather(self._store())

    def _content(self, output: Path | None, options: "ReportOptions") -> "tuple[ReportContent | None, Path]":
        from vit_sweep.report.assemble import content_of
        from vit_sweep.report.output_paths import page_path, place_for

        store = self._store()
        folder = place_for(store, output=output.parent if output is not None else None)
        path = page_path(output, folder)
        return content_of(store, options, folder=folder), path

    def _repr_html_(self) -> str:
        """What a notebook shows: how many cells are in each state, what is left, and a row for each cell."""
        results, expected, now = self._look()
        lines = [counted(results), left(expected, now=now)]
        return as_html(f"study {self.name}", lines, [status_table(results, expected, now=now)])


def open(study: str | PathLike[str]) -> Study:
    """Open a study by its folder, or by its name below outputs/; raises `UserError` with the names there are."""
    if not isinstance(study, str | PathLike):
        raise UserError(f"vit_sweep.open({study!r}): a study is named by its folder, or by its name below outputs/")
    name = fsdecode(study)
    try:
        return Study(open_study(name).folder)
    except UserError:
        if name not in reference_names():
            raise
        raise UserError(f"{name} is a published study, not one of yours: vit_sweep.published({name!r})") from None
