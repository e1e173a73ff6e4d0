"""What a plan looks like on terminals of two widths: a column for each axis that varies, the rest said once."""

from dataclasses import replace
from itertools import product

import pytest
from rich.console import Console

from tests.conftest import ROOT
from tests.unit.builders import ENGINE, OPTIMIZER, point, profile
from vit_sweep.cli.terminal.show_plan import _by_heading, plan
from vit_sweep.plan.choices import Offload, OptimizerKind, Precision, Scaling
from vit_sweep.plan.plan import make_plan
from vit_sweep.plan.specs import EngineSpec, OptimizerSpec

GOLDEN = ROOT / "tests" / "golden"
SITE = profile(nodes=2, gpus_per_node=4, peak_tflops={"fp32": 8.1, "fp16": 65.0}, gpu_memory_gib=15.0)

OTHER = replace(SITE, name="other")


def optimizers():
    """As `grid=optimizers`: equal rows but for the optimizer and the seed."""
    kinds = (OptimizerSpec(name="lamb", kind=OptimizerKind.LAMB, learning_rate=1e-3, weight_decay=0.01), OPTIMIZER)
    for optimizer, gpus, seed in product(kinds, (1, 4), (0, 1)):
        yield point(optimizer=optimizer, gpus=gpus, seed=seed, partition=SITE)


def offload():
    """As `grid=offload`: a value behind a name that all share."""
    for stage, place, gpus in product((1, 2), (Offload.NONE, Offload.CPU), (2, 8)):
        engine = EngineSpec(name=f"zero{stage}", zero_stage=stage, offload_optimizer=place)
        yield point(engine=engine, gpus=gpus, partition=SITE)


def scaling():
    """The paper's own axes, and three precisions of which one cannot run."""
    for gpus, batch, precision in product((1, 8), (16, 32), (Precision.FP32, Precision.FP16)):
        yield point(gpus=gpus, batch=batch, precision=precision, partition=SITE, scaling=Scaling.WEAK)


def long():
    """Two hundred cells."""
    for seed, gpus in product(range(100), (1, 4)):
        yield point(seed=seed, gpus=gpus, partition=SITE)


def alone():
    """One cell."""
    yield point(gpus=4, engine=ENGINE, partition=SITE)


@pytest.mark.parametrize("width", [60, 80, 100, 200])
@pytest.mark.parametrize("points", [optimizers, offload, scaling, alone, long])
def test_a_plan_shows_the_axes_that_vary_and_says_the_others_once(points, width, request):
    made = make_plan(points())
    console = Console(width=width, record=True, markup=False, highlight=False)
    plan(console, made, study="s", todo=set(made.cells))
    screen = "\n".join(line.rstrip() for line in console.export_text().splitlines()) + "\n"
    golden = GOLDEN / "plans" / f"{points.__name__}_{width}.txt"
    if request.config.getoption("--renew-golden"):
        golden.write_text(screen)
    assert screen == golden.read_text(), "--renew-golden writes it anew"
    assert max(map(len, screen.splitlines())) <= width


def test_a_long_plan_has_a_row_for_each_cell_where_it_is_wanted_whole():
    made = make_plan(long())
    console = Console(width=100, record=True, markup=False, highlight=False)
    plan(console, made, study="s", todo=set(made.cells), whole=True)
    lines = console.export_text().splitlines()
    assert sum(line.startswith("n1-g") for line in lines) == 200
    assert not any("in short" in line for line in lines)


@pytest.mark.parametrize("changes", [{"compile": True}, {"seed": 1}, {"lr_warmup_epochs": 2.0}, {"partition": OTHER}])
def test_whatever_the_axis_two_rows_of_a_plan_differ_beside_their_cell(changes):
    made = make_plan([point(partition=SITE), point(**({"partition": SITE} | changes))])
    console = Console(width=200, record=True, markup=False, highlight=False)
    plan(console, made, study="s", todo=set(made.cells))
    first, second = (line.split()[1:] for line in console.export_text().splitlines() if line.startswith("n1-"))
    assert first != second


def header(points, said):
    made = make_plan(points)
    console = Console(width=400, record=True, markup=False, highlight=False)
    plan(console, made, study="s", todo=set(made.cells), words=said)
    return console.export_text()


def test_what_the_command_says_of_a_model_is_named_where_all_cells_share_it():
    two = [point(gpus=gpus, partition=SITE) for gpus in (1, 2)]
    size = f"image_size {two[0].model.image_size}, "
    assert size not in header(two, ["gpus=1,2", "model=vit_b_16"])
    told = header(
        two, ["gpus=1,2", "model.image_size=224", "+data.augment=false", "partition.nodes=2", "exclude=[a.b]"]
    )
    assert told.count(size) == 1
    assert "augment False, " in told
    sizes = [point(model=replace(one.model, image_size=size), partition=SITE) for one in two for size in (32, 64)]
    assert header(sizes, ["model.image_size=32,64"]).count("image_size") == 1


def test_a_plan_has_no_two_columns_of_one_name():
    both = []
    for channels in (3, 4):
        one = point(partition=SITE)
        both.append(
            replace(one, model=replace(one.model, channels=channels), data=replace(one.data, channels=channels))
        )
    assert header(both, ["data.channels=3,4"]).count("channels") == 1
    assert [*_by_heading({"data.text": ("a",), "model.text": ("b",)})] == ["data.text", "model.text"]


def test_what_has_another_value_than_by_itself_is_said_also_where_all_cells_have_it():
    console = Console(width=400, record=True, markup=False, highlight=False)
    for chosen in ({}, {"sequence": 2, "activation_checkpointing": True}):
        made = make_plan([point(gpus=2, partition=SITE, **chosen)])
        plan(console, made, study="s", todo=set(made.cells))
    plain, shared = (line for line in console.export_text().splitlines() if line.startswith("nodes x GPUs"))
    words = "activation_checkpointing true, sequence 2, "
    assert words in shared
    assert "sequence" not in plain
