"""Runs of any origin, and what they amount to: tables, series, figures, fits, audit, report. An edge.

Every look reads them anew, so that a study that is running is seen as it is now.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from html import escape
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from launchers.checked import checked
from launchers.errors import UserError, closest
from launchers.text import plural, visible
from vit_sweep.analysis.audit.finding import by_rule
from vit_sweep.analysis.audit.judge import Audit
from vit_sweep.analysis.laws.fitted import Fit
from vit_sweep.analysis.laws.predicting import Prediction, Refusal, best, predict
from vit_sweep.analysis.series.series import ScalingSeries
from vit_sweep.report.tables.form.table import Table, by_column
from vit_sweep.runs.sources import Source
from vit_sweep.study.code.provenance import require_extra

if TYPE_CHECKING:
    # They import much, which `vit_sweep.open` and `status` do not need.
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from vit_sweep.report.assemble import ReportOptions
    from vit_sweep.report.gather import Gathered
    from vit_sweep.report.page.content import ReportContent

_SHOWN = 50
"""Rows of a table that a notebook shows."""


@checked
class SeriesFit:
    """The scaling laws fitted to one series."""

    series: ScalingSeries
    laws: tuple[Fit, ...]
    """Every law that means anything under its scaling; one that cannot be fitted says why in its `refusal`."""

    def __repr__(self) -> str:
        """Each law, or why it is not fitted."""
        laws = "; ".join(fit.refusal or f"{fit.law.value} fitted to {fit.runs} runs" for fit in self.laws)
        return f"<fit of {self.series!r}: {laws}>"

    @property
    def best(self) -> Fit | None:
        """The law with the smallest hold-out error (relative, mean over GPU counts); None where none can be judged."""
        return best(self.laws)

    def predict(self, gpus: int) -> Prediction | Refusal:
        """Time of an epoch (s), speedup and efficiency (a part of 1) on `gpus`, with 95 % intervals; or why not.

        Raises `UserError` for what is no count of GPUs.
        """
        if not isinstance(gpus, Real) or not gpus >= 1 or gpus % 1:
            raise UserError(f"gpus={gpus!r}: a prediction is about a whole number of GPUs, 1 or more")
        return predict(self.laws, int(gpus))


@checked
class Audited(Audit):
    """Which claims some runs can carry."""

    name: str
    """Of the study, or of the files."""

    def __repr__(self) -> str:
        """How each claim stands."""
        claims = ", ".join(f"{judged.claim.value}: {judged.standing.value}" for judged in self.claims)
        return f"<audit of {self.name}: {claims}>"

    def _repr_html_(self) -> str:
        """How each claim stands, and what speaks against it with what to do."""
        from vit_sweep.report.page.audit import tables_of

        against = (
            f"{group.rule}: {group.findings[0].sentence}; to do: {group.findings[0].advice}"
            for group in by_rule(self.findings)
        )
        return as_html(f"what {self.name} can carry", against, tables_of(self)[:1])


class Results(ABC):
    """Runs, wherever they were measured. Made by `open`, `sweep`, `read_csv` and `published`."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Of the study, or of the files."""

    @abstractmethod
    def source(self) -> Source:
        """Its `runs` as objects, with `notes` on where they come from and `problems` with what was passed over."""

    @abstractmethod
    def _gathered(self) -> "Gathered": ...

    @abstractmethod
    def _content(self, output: Path | None, options: "ReportOptions") -> "tuple[ReportContent | None, Path]": ...

    @property
    def runs(self) -> "DataFrame":
        """One row per run, and per point that cannot run; columns and units: docs/reference/columns.md, and `attrs`.

        What is not known is missing. Raises `UserError` without the extra `report`.
        """
        tables = self._tables()
        from vit_sweep.report.frames import frame
        from vit_sweep.report.tables.runs_columns import RUN_COLUMNS

        columns, nothing = tuple(RUN_COLUMNS.values()), by_column(RUN_COLUMNS, ())
        empty = Table(name="runs", title="Runs: one row each", columns=columns, values=nothing)
        return frame(tables.get("runs", empty))

    @property
    def series(self) -> tuple[ScalingSeries, ...]:
        """The curves, strong ones first: runs that differ only in `gpus` and seed.

        Each has `points`, sorted by `gpus`, with `time_s` of an epoch (s), `step_ms`, `images_per_s`, `speedup` and
        `efficiency` (a part of 1), each an `Estimate` with its 95 % interval; and a `baseline`, or why there is none.
        """
        gathered = self._read()
        return (*gathered.strong, *gathered.weak)

    @property
    def tables(self) -> dict[str, str]:
        """The tables that have something in them: name and title."""
        return {name: table.title for name, table in self._tables().items()}

    def table(self, name: str) -> "DataFrame":
        """One of `tables` in full precision: strong, weak, batch, placement, memory, cost, failures, ...

        `attrs` has its `title`, its `notes`, and by column `units` and `meanings`. Raises `UserError` with the
        likeliest names for another one.
        """
        tables = self._tables()
        from vit_sweep.report.frames import frame
        from vit_sweep.report.tables.all_tables import NAMES

        if name in tables:
            return frame(tables[name])
        if name in NAMES:
            names = ", ".join(tables) or "no table"
            raise UserError(f"table={name}: {self.name} has nothing for it yet; it has {names}")
        raise UserError(f"table={name}: there is no such table – {closest(str(name), NAMES)}")

    def figure(self, name: str) -> "Figure":
        """One figure of the report as matplotlib's own: strong_time, strong_speedup, cost_time, ...

        Nothing is written. Raises `UserError` with the likeliest names for another one, and with the reason where there
        is nothing to draw.
        """
        gathered = self._read()
        from vit_sweep.report import figures, pictures
        from vit_sweep.report.figure import Skipped

        known = figures.drawers(
            gathered.strong,
            gathered.weak,
            gathered.runs,
            None,
            ratio=gathered.ratio,
            predictions=pictures.fitted_lines([(fitted.series, fitted.laws) for fitted in _fits(gathered)]),
            accuracies=gathered.accuracies,
        )
        if name not in known:
            raise UserError(f"figure={name}: there is no such figure – {closest(str(name), known)}")
        with figures.theme():
            drawn = known[name]()
        if isinstance(drawn, Skipped):
            raise UserError(f"figure={name}: {self.name} cannot carry it – {drawn.reason}")
        sheet: Figure = drawn.sheet
        return sheet

    def fit(self) -> tuple[SeriesFit, ...]:
        """The scaling laws fitted to every series, in the order of `series` (docs/results/models.md)."""
        return tuple(_fits(self._read()))

    def audit(self) -> Audited:
        """Which claims the runs can carry: `claims`, `findings` with what to do, `falls` (docs/results/audit.md)."""
        from vit_sweep.analysis.audit import judge

        audit = judge.audit(self.source().runs)
        return Audited(findings=audit.findings, claims=audit.claims, speedups=audit.speedups, name=self.name)

    def report(
        self,
        output: str | PathLike[str] | None = None,
        *,
        reference: str | None = None,
        proposal: bool = False,
        threshold: float = 0.8,
        target: float | None = None,
    ) -> Path:
        """Write the tables, the figures and one HTML page with all of it; returns the page.

        `output`: the page, by default `report.html` in the study's folder, or beside the tables of imported runs in
        outputs/. `reference`: a published study drawn beside. `proposal`: also what an application for compute time
        needs, with `proposal.md`. `threshold`: least efficiency of a chosen GPU count, 0 to 1. `target`: test accuracy
        whose time is reported, 0 to 1. Raises `UserError` where no run has a time yet.
        """
        require_extra("report")
        from vit_sweep.report.assemble import ReportOptions
        from vit_sweep.report.render import write_report

        options = ReportOptions(reference=reference, proposal=proposal, threshold=threshold, target=target)
        content, path = self._content(Path(output) if output is not None else None, options)
        if content is None:
            raise UserError(f"no run of {self.name} has a time yet, so there is nothing to report")
        return write_report(content, path)[0]

    def _read(self) -> "Gathered":
        require_extra("report")
        return self._gathered()

    def _tables(self) -> dict[str, Table]:
        return {table.name: table for table in self._read().tables}

    def _repr_html_(self) -> str:
        """What a notebook shows: how many runs have a time, what is to be said of them, and the scaling tables."""
        source, tables = self.source(), self._tables()
        counted = f"{len(source.timed)} of {plural(len(source.runs), 'run')} with a time"
        tables_shown = [tables[name] for name in ("strong", "weak") if name in tables]
        return as_html(self.name, [counted, *source.notes, *source.problems], tables_shown)


def as_html(title: str, lines: Iterable[str], tables: Iterable[Table]) -> str:
    """A piece of a page: a title, a line each, and the columns of tables that have something in them; escaped."""
    parts = [f"<h4>{_escaped(title)}</h4>", *(f"<div>{_escaped(line)}</div>" for line in lines if line)]
    for table in tables:
        columns = table.filled
        head = "".join(f"<th title='{_escaped(column.meaning)}'>{_escaped(column.name)}</th>" for column in columns)
        body = "".join(
            f"<tr>{''.join(f'<td>{_escaped(_number(row[column.name]))}</td>' for column in columns)}</tr>"
            for row in table.part(slice(_SHOWN)).rows
        )
        more = table.height - _SHOWN
        parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
        parts += [f"<div>... and {more} more</div>"] if more > 0 else []
    return "\n".join(parts)


def _number(value: object) -> object:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else value


def _escaped(value: object) -> str:
    return escape(visible(str(value)))


def _fits(gathered: "Gathered") -> Iterable[SeriesFit]:
    from vit_sweep.analysis.laws.fits import fit

    return (SeriesFit(series=curve, laws=fit(curve)) for curve in (*gathered.strong, *gathered.weak))
