"""How fast the figures of 12 cells are drawn in three formats, against matplotlib's own `savefig`, in one run.

    python benchmarks/orchestrator/figures.py [--cells 12] [--rounds 5] [--json FILE]

Makes records as jobs on GPUs write them (those of `collecting.py`, which takes the tests' builders), and reads them
once. Then, in turns: `savefig` draws the same sheets with matplotlib's own function, which finds the layout anew and
draws twice for every format; `one process` is what a notebook has; `side by side` is what `collect` and `report` do.
By wall time: what is drawn side by side takes no less of the processors.
"""

import gc
import os
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure as Sheet

from benchmarks.orchestrator.collecting import points, record_of
from benchmarks.provenance import options, report
from benchmarks.rounds import Took, compared, interleaved, summary, timed, with_control
from launchers.atomic import write
from launchers.checked import to_json
from launchers.text import plural
from vit_sweep.__main__ import COLLECTED_AT
from vit_sweep.plan.cell import JobOptions
from vit_sweep.plan.plan import make_plan
from vit_sweep.report import figures
from vit_sweep.report.figure import FORMATS, formats
from vit_sweep.report.gather import Gathered, gather
from vit_sweep.study.store import Study

GOAL = 0.5
"""Of `side by side` over `savefig`."""


def gathered(cells: int) -> Gathered:
    """So many finished cells as figures take them."""
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        study = Study.create_or_resume(Path(folder) / "s")
        plan = make_plan(points(cells))
        study.write_plan(plan, data_root="data", options=JobOptions())
        for cell_id, planned in plan.cells.items():
            write(study.cell_dir(cell_id) / "record.json", to_json(record_of(planned.cell, draw)))
        return gather(study)


def draws(study: Gathered, folder: Path, *, alone: bool) -> Callable[[], Took]:
    """A turn that draws all figures as we do."""

    def drawn() -> list[Any]:
        return figures.draw_all(study.strong, study.weak, study.runs, folder, ratio=study.ratio, alone=alone)

    return lambda: timed(drawn)[0]


def saves(study: Gathered, folder: Path) -> Callable[[], Took]:
    """A turn that makes the same sheets and hands each to `savefig`, format by format."""
    folder.mkdir()

    def saved() -> None:
        with figures.theme():
            for draw in figures.drawers(study.strong, study.weak, study.runs, None, ratio=study.ratio).values():
                figure = draw()
                sheet = getattr(figure, "sheet", None)
                if isinstance(sheet, Sheet):
                    for suffix in formats(os.environ) or FORMATS:
                        sheet.set_layout_engine("constrained")
                        sheet.savefig(folder / f"{figure.name}{suffix}")

    return lambda: timed(saved)[0]


def main() -> None:
    """Measure and print."""
    words = options(__doc__)
    words.add_argument("--cells", type=int, default=12)
    words.add_argument("--rounds", type=int, default=5)
    args = words.parse_args()
    gc.set_threshold(*COLLECTED_AT)
    study = gathered(args.cells)
    with tempfile.TemporaryDirectory() as folder:
        ways = {
            "savefig": saves(study, Path(folder, "theirs")),
            "one process": draws(study, Path(folder, "one"), alone=True),
            "side by side": draws(study, Path(folder, "several"), alone=False),
        }
        if args.rounds > 1:
            ways["one process"]()  # fonts are looked for once
        turns = interleaved(with_control(ways, "savefig"), rounds=args.rounds)
        names = {path.stem for path in Path(folder, "one").iterdir()}
        assert names == {path.stem for path in Path(folder, "theirs").iterdir()}
    table = compared(
        f"{len(names)} figures of {args.cells} cells in {plural(len(formats(os.environ) or FORMATS), 'format')}",
        turns,
        "savefig",
        goals={"side by side": GOAL},
    )
    report({"cells": args.cells, "figures": len(names), "ways": summary(turns, "savefig")}, args, table)


if __name__ == "__main__":
    main()
