"""What the tables of results look like on terminals of four widths."""

import io

import pytest
from rich.console import Console

from tests.conftest import ROOT
from tests.unit.analysis.builders import run
from vit_sweep.analysis.audit.judge import audit
from vit_sweep.analysis.compare import compare
from vit_sweep.analysis.series.grouping import group
from vit_sweep.analysis.series.intervals import with_intervals
from vit_sweep.cli import audit as audit_verb
from vit_sweep.cli import compare as compare_verb
from vit_sweep.cli.terminal import show
from vit_sweep.plan.choices import Scaling
from vit_sweep.report.gather import gather_runs
from vit_sweep.report.tables.scaling import scaling_table

GOLDEN = ROOT / "tests" / "golden" / "screens"


def study(factor=1.0, **changes):
    """Two engines and two batches on one to four GPUs, twice each; on four some images are repeated."""
    return [
        run(
            gpus,
            (factor * (1478.3 / gpus + seed),),
            nodes=gpus,
            micro_batch=batch,
            seed=seed,
            run_id=f"{factor}-{gpus}-{batch}-{engine}-{seed}",
            test_accuracy=(0.7 + gpus / 100,),
            train_accuracy=(0.8 + gpus / 100,),
            conditions={"engine": engine},
            note="11% repeated images" if gpus == 4 else "",
            **changes,
        )
        for engine in ("zero0", "zero1")
        for batch in (16, 128)
        for gpus in (1, 2, 4)
        for seed in range(2)
    ]


def scaling(console):
    series = [with_intervals(curve) for curve in group(study(), Scaling.STRONG)]
    console.print(show.scaling(scaling_table(series, (), Scaling.STRONG)))


def pairs(console):
    console.print(compare_verb._table(compare(study(), study(0.9))))


def claims(console):
    verdict = audit(study())
    console.print(audit_verb._claims("mine", verdict.claims))
    console.print(audit_verb._speedups(verdict.speedups))


def weak(console):
    """A row for each number of images; below them the same of a single run."""
    runs = study(scaling=Scaling.WEAK)
    for some in (runs, runs[:1]):
        series = [with_intervals(curve) for curve in group(some, Scaling.WEAK)]
        console.print(show.scaling(scaling_table(series, (), Scaling.WEAK)))


def asked_for(console):
    """Tables that are printed by their names: with two answers for each cell, and a row for each run."""
    made = {table.name: table for table in gather_runs(study()).tables}
    for name in ("engines", "batch", "cost", "runs"):
        console.print(show.whole(made[name]))


@pytest.mark.parametrize("width", [60, 80, 100, 200])
@pytest.mark.parametrize("screen", [scaling, weak, asked_for, pairs, claims])
def test_a_table_of_results_fits_its_terminal_with_every_number_whole(screen, width, request):
    console = Console(width=width, record=True, markup=False, highlight=False, file=io.StringIO())
    screen(console)
    text = "\n".join(line.rstrip() for line in console.export_text().splitlines()) + "\n"
    golden = GOLDEN / f"{screen.__name__}_{width}.txt"
    if request.config.getoption("--renew-golden"):
        golden.write_text(text)
    assert text == golden.read_text(), "--renew-golden writes it anew"
    assert max(map(len, text.splitlines())) <= width
    assert "[n=1]" not in text
    assert "…" not in text
