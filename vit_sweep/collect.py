"""From records to files: tables as CSV, Markdown and LaTeX, and the figures. An edge; pandas lives here."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console

from vit_sweep import show
from vit_sweep.files import write
from vit_sweep.point import Scaling
from vit_sweep.scaling import curves
from vit_sweep.status import settled_results
from vit_sweep.store import Study
from vit_sweep.tables import SCALING_COLUMNS, Cells, runs_table, scaling_table

_PERCENT = ("efficiency", "train_accuracy", "test_accuracy")


def collect(study: Study, console: Console) -> list[Path]:
    """Rebuild every table and figure of `study` from its records; print them; return the files written."""
    from vit_sweep import figures

    results, points = settled_results(study), study.points()
    written: list[Path] = []
    tables = study.folder / "tables"
    tables.mkdir(exist_ok=True)
    for mode in Scaling:
        rows = scaling_table(results, points, mode)
        if rows:
            console.print(show.scaling(f"{mode.value} scaling", rows))
            written += _write_table(tables / mode.value, rows)
        lines = curves(results, mode)
        if any(row.epoch_s is not None for line in lines for row in line):
            written += figures.draw(mode, lines, study.folder / "figures")
    runs = pd.DataFrame(runs_table(results, points, _peaks(study)))
    write(tables / "runs.csv", runs.to_csv(index=False))
    written.append(tables / "runs.csv")
    show.problems(console, study.problems)
    for path in written:
        console.print(f"  {path}", soft_wrap=True)
    return written


def _peaks(study: Study) -> dict[str, float]:
    """The peak of each cell's GPU in its precision, where its profile says."""
    found = {
        cell_id: planned.profile.peak_tflops.get(planned.cell.precision.value)
        for cell_id, planned in study.planned().items()
    }
    return {cell_id: peak for cell_id, peak in found.items() if peak is not None}


def _write_table(stem: Path, rows: Sequence[Cells]) -> list[Path]:
    """Write one table in three formats: full precision for machines, rounded for people."""
    frame = pd.DataFrame(rows, columns=list(SCALING_COLUMNS))
    rounded = _rounded(frame)
    texts = {
        ".csv": frame.to_csv(index=False),
        ".md": rounded.to_markdown(index=False) + "\n",
        ".tex": rounded.to_latex(index=False, escape=True, column_format="l" * len(rounded.columns)),
    }
    for suffix, text in texts.items():
        write(stem.with_suffix(suffix), text)
    return [stem.with_suffix(suffix) for suffix in texts]


def _rounded(frame: pd.DataFrame) -> pd.DataFrame:
    """For print: the columns that vary or that a reader needs, numbers short, empty fields as dashes."""
    keep = [c for c in frame.columns if frame[c].notna().any()]
    shown = frame[keep].astype(object)
    for name in keep:
        percent = name in _PERCENT
        shown[name] = [_short(value, percent=percent) for value in frame[name]]
    return shown


def _short(value: object, *, percent: bool) -> str:
    if value is None or (isinstance(value, float) and pd.isna(value)) or value == "":
        return "–"
    if isinstance(value, float):
        return f"{100 * value:.1f} %" if percent else f"{value:.4g}"
    return str(value)
