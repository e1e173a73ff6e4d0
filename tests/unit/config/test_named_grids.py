"""Named grids: the paper's figures, and what a grid of a user's own may say."""

from dataclasses import replace

import pytest
from omegaconf import OmegaConf

from launchers.errors import UserError
from vit_sweep.config.algebra import GridSpec, select
from vit_sweep.config.folders import conf_dir
from vit_sweep.config.words import grid_words
from vit_sweep.plan.choices import OptimizerKind
from vit_sweep.plan.engine.kinds import compares_engines
from vit_sweep.plan.optimizers import Pieces, pieces
from vit_sweep.plan.plan import Knowledge, MemoryCheck, make_plan

SHIPPED = sorted(path.stem for path in (conf_dir() / "grid").glob("paper_*.yaml"))
# Points, physical cells: one GPU has no placement, so figures 14 and 15 draw one cell in both curves.
SIZES = {
    "paper_fig4": (5, 5),
    "paper_fig5": (5, 5),
    "paper_fig6": (10, 10),
    "paper_fig7": (10, 10),
    "paper_fig8": (8, 8),
    "paper_fig9": (8, 8),
    "paper_fig10": (16, 16),
    "paper_fig11": (8, 8),
    "paper_fig12": (16, 16),
    "paper_fig13": (8, 8),
    "paper_fig14": (18, 17),
    "paper_fig15": (18, 17),
    "paper_fig16": (8, 8),
    "paper_fig17": (8, 8),
}


@pytest.fixture
def points_of(ask):
    """Points of a sweep with these words, after its own exclusions and repeats, and its settings."""

    def points(*words):
        requested, settings = ask(*words)
        return select(requested, exclude=settings.exclude, repeats=settings.repeats).points, settings

    return points


def test_every_figure_of_the_paper_that_has_a_grid_is_shipped():
    assert sorted(SIZES) == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_grid_plans_against_its_partition_without_a_skipped_point(points_of, name):
    points, settings = points_of(f"grid={name}")
    assert settings.grid.name == name
    assert "Fig. " + name.removeprefix("paper_fig") + ":" in settings.grid.source
    plan = make_plan(points, Knowledge(memory_check=settings.memory_check))
    assert [reason for p in plan.infeasible for reason in p.reasons] == []
    assert (len(plan.points), len(plan.cells)) == SIZES[name]


@pytest.mark.parametrize("name", SHIPPED)
def test_every_cell_of_the_paper_can_be_stated_and_planned_on_imagenet_100_too(points_of, name):
    """Its text names that data set, its figures and code do not. 25.9 GB of images are no T4's to hold."""
    points, _ = points_of(f"grid={name}", "data=imagenet100", "data.pipeline=loader", "minutes=100000")
    plan = make_plan(points, Knowledge(minutes=100_000))
    assert [reason for p in plan.infeasible for reason in p.reasons if "needs about" not in reason] == []
    assert {(p.data.classes, p.model.name) for p in points} == {(100, "vit_b_16")}


@pytest.mark.parametrize(("name", "engines"), [("zero_stages", 5), ("frameworks", 9)])
def test_a_grid_of_engines_compares_them_on_equal_work(points_of, name, engines):
    """On a CPU partition too, a tiny model included, but for Megatron, and the plan says why."""
    points, _ = points_of(f"grid={name}", "partition=vector_t4v2")
    plan = make_plan(points)
    assert not plan.infeasible
    cells = [planned.cell for planned in plan.cells.values()]
    assert len(cells) == engines * 3 * 3
    assert all(compares_engines(cell for cell in cells if cell.gpus == gpus) for gpus in (2, 4, 8))
    assert len({replace(cell, engine=cells[0].engine, gpus=1, nodes=1, seed=0) for cell in cells}) == 1
    points, _ = points_of(f"grid={name}", "partition=local", "model=vit_tiny_32", "data=digits", "gpus=2", "repeats=1")
    skipped = {p.axes["engine"]: p.reasons for p in make_plan(points).infeasible}
    assert set(skipped) == ({"megatron"} if name == "frameworks" else set())
    assert all("CUDA device, and local is a CPU partition" in reason for (reason,) in skipped.values())


def test_the_grid_of_optimizers_compares_all_on_whole_tensors(points_of):
    points, settings = points_of("grid=optimizers", "partition=vector_t4v2")
    plan = make_plan(points, Knowledge(memory_check=settings.memory_check))
    assert not plan.infeasible
    cells = [planned.cell for planned in plan.cells.values()]
    assert {cell.optimizer.kind for cell in cells} == set(OptimizerKind)
    assert len(cells) == len(OptimizerKind) * 2 * 3
    assert {(cell.optimizer.decay_all, cell.optimizer.clip_norm, pieces(cell.engine)) for cell in cells} == {
        (False, 1.0, Pieces.WHOLE)
    }
    small = ("partition=local", "model=vit_tiny_32", "data=digits", "gpus=2", "repeats=1", "minutes=60")
    assert not make_plan(points_of("grid=optimizers", *small)[0]).infeasible


def test_the_grid_of_offload_runs_each_stage_both_ways(points_of):
    points, _ = points_of("grid=offload", "partition=vector_a40")
    cells = [p.cell for p in make_plan(points, Knowledge(memory_check=MemoryCheck.WARN)).cells.values()]
    assert len(cells) == 3 * 2 * 3 * 3
    assert {(cell.engine.zero_stage, cell.engine.offload_optimizer.value) for cell in cells} == {
        (stage, where) for stage in (1, 2, 3) for where in ("none", "cpu")
    }
    assert compares_engines(cell for cell in cells if cell.gpus == 2)


def test_the_grid_of_long_sequences_shares_tokens_from_one_gpu_to_eight(points_of):
    """What does not fit is told the degree that does."""
    points, settings = points_of("grid=long_sequence", "partition=vector_a40", "minutes=100000")
    plan = make_plan(points, Knowledge(minutes=100_000, memory_check=MemoryCheck.OFF))
    assert not plan.infeasible
    cells = [planned.cell for planned in plan.cells.values()]
    assert len(cells) == 7 * (1 + 2 + 3 + 4)
    assert {(cell.gpus, cell.sequence) for cell in cells} == {
        (g, s) for g in (1, 2, 4, 8) for s in (1, 2, 4, 8) if s <= g
    }
    full = make_plan(points, Knowledge(minutes=100_000, memory_check=settings.memory_check)).infeasible
    reasons = [reason for point in full for reason in point.reasons]
    assert any("or sequence=2 on gpus=2, from which on 2048 px fits" in reason for reason in reasons), reasons


@pytest.mark.parametrize("words", [["zero=0,1"], ["zero=2"]])
def test_a_zero_stage_by_number_replaces_the_grids_engine(points_of, words):
    points, _ = points_of("grid=paper_fig8", *words)
    stages = {planned.cell.engine.zero_stage for planned in make_plan(points).cells.values()}
    assert stages == {int(stage) for stage in words[0].removeprefix("zero=").split(",")}


def test_figure_8_is_what_the_paper_ran(points_of):
    points, _ = points_of("grid=paper_fig8")
    ran = {(p.partition.name, p.model.name, p.data.name, p.precision.value, p.batch, p.epochs) for p in points}
    assert ran == {("vector_t4v2", "vit_b_16", "cifar10", "fp32", 64, 5)}
    assert [p.gpus for p in points] == list(range(1, 9))


def test_a_word_of_the_command_line_replaces_the_grids_own(points_of):
    points, settings = points_of("grid=paper_fig8", "gpus=1,8", "epochs=2", "partition=vector_a40")
    axes = [(p.gpus, p.epochs, p.partition.name, p.batch) for p in points]
    assert axes == [(1, 2, "vector_a40", 64), (8, 2, "vector_a40", 64)]
    assert settings.grid.name == "paper_fig8"


def test_a_further_axis_multiplies_with_the_grids(points_of):
    points, _ = points_of("grid=paper_fig8", "engine=zero0,zero1")
    assert sorted((p.gpus, p.engine.zero_stage) for p in points) == [(g, z) for g in range(1, 9) for z in (0, 1)]


def test_the_grids_own_exclusion_can_be_replaced(points_of):
    assert len(points_of("grid=paper_fig14", "exclude=[]")[0]) == 20


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["grid=paper_fig8,paper_fig9"], "a command for each"),
        (["grid=paper_fig8", "grid.axes.gpus=[1]"], "write gpus=VALUE,VALUE"),
        (["grid=nope"], "there is no such grid"),
    ],
)
def test_a_wrong_word_about_a_grid_is_told(points_of, words, message):
    with pytest.raises(UserError) as error:
        points_of(*words)
    assert message in str(error.value)


def test_a_grids_words_survive_hydras_grammar():
    from hydra.core.override_parser.overrides_parser import OverridesParser

    values = {
        "study": "it's a, b=c: \\'x",
        "nodes": None,
        "wait": False,
        "batch": 3,
        "weak_fraction": 0.1,
        "exclude": ["gpus==8 and batch in [1,2]", 'model=="a"'],
        "zip": [["gpus", "batch"]],
        "data_root": "null",
        "outputs": "/a b/${c}",
        "seed": "7",
    }
    words = grid_words(GridSpec(name="g", set=values), stated=set())
    parsed = OverridesParser.create().parse_overrides(words)
    assert {override.key_or_group: override.value() for override in parsed} == values


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"axes": {"gpus": ()}}, "axes.gpus has no value"),
        ({"axes": {"gpus": (1,)}, "set": {"gpus": 2}}, "gpus is in axes and in set"),
        ({"set": {"grid": "paper_fig8"}}, "a grid inside a grid"),
    ],
)
def test_a_grid_that_contradicts_itself_is_refused(spec, message):
    with pytest.raises(UserError) as error:
        grid_words(GridSpec(name="g", **spec), stated=set())
    assert message in str(error.value)


WRONG = {
    "a sweeper that it overrides": (
        "defaults: [override /hydra/sweeper: basic]\nname: g\n",
        "grid g: it overrides hydra/sweeper (defaults:), and a file of grid/ has no say in that – take it out\n",
    ),
    "another group that it overrides": (
        "defaults: [override /partition: tesla]\nname: g\n",
        "take it out; a command says partition=NAME\n",
    ),
    "a sweeper among its words": (
        "name: g\nset: {hydra/sweeper: basic}\n",
        "grid g: hydra/sweeper=basic: the whole grid",
    ),
    "keys that are none of the grid's": (
        "# @package _global_\ndefaults: [override /hydra/sweeper: basic]\nname: g\n",
        "grid: the file that is chosen puts its keys elsewhere – leave out its line `# @package`",
    ),
}


@pytest.mark.parametrize("partition", ["", "tesla"], ids=["no default", "a default partition"])
@pytest.mark.parametrize(("text", "sentence"), WRONG.values(), ids=WRONG)
def test_a_users_grid_with_hydras_own_settings_is_told_what_to_take_out(sweep, tmp_path, text, sentence, partition):
    (tmp_path / "mine/grid").mkdir(parents=True)
    (tmp_path / "mine/grid/g.yaml").write_text(text)
    for words in (["-m", "gpus=1,2"], []):
        answer = sweep("--config-dir", "mine", *words, "grid=g", env={"VIT_SWEEP_PARTITION": partition})
        assert answer.returncode == 2
        assert answer.stderr.startswith("error: ") and "Traceback" not in answer.stderr
        # Without -m a grid is refused for that, where it is composed at all.
        assert sentence in answer.stderr or (not words and "needs -m" in answer.stderr)


@pytest.mark.parametrize("partition", ["", "tesla"], ids=["no default", "a default partition"])
def test_a_grid_that_builds_on_another_has_its_partition(sweep, tmp_path, partition):
    (tmp_path / "mine/grid").mkdir(parents=True)
    (tmp_path / "mine/grid/g.yaml").write_text("defaults: [paper_fig8]\nname: g\n")
    answer = sweep("plan", "--config-dir", "mine", "-m", "grid=g", env={"VIT_SWEEP_PARTITION": partition})
    assert answer.returncode == 0, answer.stderr
    assert "partition vector_t4v2" in answer.stdout


def test_a_users_own_folder_may_hold_grids(sweep, tmp_path):
    folder = tmp_path / "mine" / "grid"
    folder.mkdir(parents=True)
    grid = {"name": "pairs", "axes": {"gpus": [1, 2], "batch": [32, 16]}, "set": {"zip": [["gpus", "batch"]]}}
    OmegaConf.save(OmegaConf.create(grid), folder / "pairs.yaml")
    answer = sweep("--config-dir", "mine", "-m", "grid=pairs", "dry_run=true")
    assert answer.returncode == 0, answer.stderr
    assert "2 points, 2 cells" in answer.stdout
    (folder / "wrong.yaml").write_text("name: wrong\naxis: {gpus: [1]}\n")
    answer = sweep("--config-dir", "mine", "-m", "grid=wrong", "dry_run=true")
    assert answer.returncode == 2
    assert "grid wrong: unknown key axis – did you mean axes" in answer.stderr
