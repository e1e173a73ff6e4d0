"""A study, or imported runs, in the forms of other tools. An edge."""

from collections.abc import Sequence
from pathlib import Path

from launchers.atomic import make_folder, write
from launchers.errors import UserError, closest
from vit_sweep.analysis.extra_p import extra_p
from vit_sweep.report.gather import Gathered
from vit_sweep.runs.mlperf_log import mlperf_log

FORMS = ("extra-p", "mlperf")
"""docs/results/import.md names the tool that reads each."""


def check_forms(forms: Sequence[str]) -> None:
    """Raises `UserError` for a form that is not known."""
    for form in forms:
        if form not in FORMS:
            raise UserError(f"export={form}: {closest(form, FORMS)}")


def export(forms: Sequence[str], gathered: Gathered, folder: Path) -> list[Path]:
    """Write `extra-p.json`, and a log `mlperf/RUN.log` for each run with a time, into `folder`; returns the files."""
    written = []
    if "extra-p" in forms:
        written.append(folder / "extra-p.json")
        write(written[-1], extra_p([*gathered.strong, *gathered.weak]))
    if "mlperf" in forms:
        make_folder(folder / "mlperf")
        for run in gathered.runs:
            if run.timed and run.epoch_all_s:
                name = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in run.run_id)
                written.append(folder / "mlperf" / f"{name}.log")
                write(written[-1], mlperf_log(run))
    return written
