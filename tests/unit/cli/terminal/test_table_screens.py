"""What the tables of results look like on terminals of four widths."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from tests.conftest import ROOT
from tests.unit.analysis.builders import run
from tests.unit.report.tables.test_tables import SIZED
from vit_sweep.analysis.audit.judge import audit
from vit_sweep.analysis.compare import compare
from vit_sweep.analysis.series.grouping import group
from vit_sweep.analysis.series.intervals import with_intervals
from vit_sweep.cli.results import audit as audit_verb
from vit_sweep.cli.results import compare as compare_verb
from vit_sweep.cli.terminal import show
from vit_sweep.plan.choices import Scaling
from vit_sweep.record.record import CERTIFIED_WITHIN, Certificate
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


CERTIFIED = Certificate(
    steps=50,
    difference=0.0,
    absolute=0.0,
    parameter="a",
    tolerance=CERTIFIED_WITHIN,
    masked="the keys' part of the bias",
)
SLOW = "host contended: n1-g2-mb16-ga1-3f9c1a2b waited for cores that others had (every run here)"


def engine_study():
    """What it costs and saves to shard, and to keep states on the host; FSDP2 was not certified."""
    stages = {"zero1": "1", "zero2": "2", "zero3": "3"}
    measured = {
        ("ddp", "none"): (100.0, 9000.0, 100.0, 9200.0),
        ("fsdp2", "none"): (104.0, 5100.0, 105.0, 5000.0),
        ("zero2", "none"): (110.0, 6000.0, 112.0, 6100.0),
        ("zero2", "cpu"): (190.0, 4000.0, 160.0, 3900.0),
        ("zero3", "none"): (130.0, 5000.0, 128.0, 4800.0),
        ("zero3", "cpu"): (230.0, 2500.0, 210.0, 2600.0),
    }
    return [
        run(
            gpus,
            (2 * (seconds + seed) / gpus,),
            run_id=f"{engine}-{offload}-{gpus}-{seed}",
            seed=seed,
            conditions={
                "engine": engine,
                "engine.kind": engine if engine not in stages else "deepspeed",
                "engine.zero_stage": stages.get(engine, "None"),
                "engine.offload_optimizer": offload,
            },
            certificate=CERTIFIED if engine != "fsdp2" else None,
            memory_mib=memory,
            memory_predicted_mib=expected_mib,
            step_ms=10 * seconds,
            step_predicted_ms=expected_ms,
            flags=(SLOW,) if engine == "zero3" else (),
            test_accuracy=(0.7, 0.75 + seed / 100),
            epoch_all_s=(12.0, 11.0, 10.0),
        )
        for (engine, offload), (seconds, memory, expected_ms, expected_mib) in measured.items()
        for gpus in (2, 4)
        for seed in range(2)
    ]


def engines(console):
    """What a reader compares engines by: the ratio, its interval, what is saved, whether the training is the same."""
    made = {table.name: table for table in gather_runs(engine_study(), target=0.72).tables}
    for name in ("engines", "memory", "accuracy"):
        console.print(show.whole(made[name]))


def sizes(console):
    """How large images fit, what more nodes cost, which cells failed."""
    whole = study()
    spread = [replace(one, nodes=2, run_id=f"{one.run_id}-2", epoch_s=(400.0,)) for one in whole if one.gpus == 4]
    steps = [replace(one, accum=4, run_id=f"{one.run_id}-a", epoch_s=(300.0,)) for one in whole if one.gpus == 4]
    made = {table.name: table for table in gather_runs([*whole, *spread, *steps, *SIZED]).tables}
    for name in ("resolutions", "placement", "accumulation", "failures"):
        console.print(show.whole(made[name]))


@pytest.mark.parametrize("width", [60, 80, 100, 200])
@pytest.mark.parametrize("screen", [scaling, weak, asked_for, engines, sizes, pairs, claims])
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
