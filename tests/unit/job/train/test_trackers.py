"""Loggers are asked for by name, refused where they are missing, told what the record says, and may fail alone."""

import sys
from dataclasses import replace
from types import ModuleType

import pytest

from launchers.checked import to_plain
from launchers.errors import UserError
from tests.unit.builders import cell, record
from vit_sweep.job.train.trackers.figures import epoch_figures, epoch_names, parameters, run_figures
from vit_sweep.job.train.trackers.guarded import Trackers
from vit_sweep.job.train.trackers.tracker import TrackedRun
from vit_sweep.plan.cell import JobOptions, Logger
from vit_sweep.plan.choices import Task
from vit_sweep.plan.predict.vit import forward_flop
from vit_sweep.plan.predict.vit import parameters as model_parameters
from vit_sweep.record.breakdown import Breakdown, counted_flop
from vit_sweep.study.code.provenance import require_loggers


class Fake:
    """A library that remembers, and fails at what it is told to fail at."""

    def __init__(self, *, fails=()):
        self.received, self.fails = [], fails

    def start(self, run):
        self._do("start", run.cell_id)
        return self

    def epoch(self, number, figures):
        self._do(f"epoch {number}", dict(figures))

    def finish(self, epochs, figures):
        self._do("finish", dict(figures))

    def abandon(self):
        self._do("abandon", None)

    def _do(self, call, arguments):
        if call in self.fails:
            raise OSError("No space left on device")
        self.received.append((call, arguments))

    @property
    def calls(self):
        return [call for call, _ in self.received]


@pytest.fixture
def trackers(tmp_path, monkeypatch):
    """Trackers of these fakes, by library."""

    def make(**fakes):
        for name, fake in fakes.items():
            module = ModuleType(name)
            module.start = fake.start
            monkeypatch.setitem(sys.modules, f"vit_sweep.job.train.trackers.{name}", module)
        run = TrackedRun(
            study=tmp_path,
            cell_dir=tmp_path,
            cell_id="cell",
            parameters={},
            epoch_names=epoch_names(Task.CLASSIFICATION),
        )
        return Trackers(tuple(Logger(name) for name in fakes), run)

    return make


def test_what_was_done_before_a_restart_is_told_first_and_once(trackers):
    fake = Fake()
    guarded = trackers(mlflow=fake)
    guarded.start({1: {"a": 1.0}, 2: {"a": 2.0}})
    guarded.epoch(3, {"a": 3.0})
    guarded.finish(3, {"b": 4.0})
    guarded.abandon()
    assert fake.calls == ["start", "epoch 1", "epoch 2", "epoch 3", "finish"]
    assert guarded.notes == ()


def test_a_run_that_ends_early_is_abandoned(trackers):
    fake = Fake()
    guarded = trackers(wandb=fake)
    guarded.start({})
    guarded.epoch(1, {})
    guarded.abandon()
    assert fake.calls == ["start", "epoch 1", "abandon"]


@pytest.mark.parametrize(
    ("where", "lost"),
    [
        ("start", "nothing was logged"),
        ("epoch 2", "nothing was logged from epoch 2 on"),
        ("finish", "the end of the run was not logged"),
    ],
)
def test_an_error_of_a_library_is_a_note_and_its_last_call_and_no_others_matter(trackers, where, lost):
    broken, sound = Fake(fails=[where]), Fake()
    guarded = trackers(tensorboard=broken, mlflow=sound)
    guarded.start({1: {}})
    for number in (2, 3):
        guarded.epoch(number, {})
    guarded.finish(3, {})
    assert guarded.notes == (f"tensorboard: {lost}: OSError: No space left on device",)
    everything = ["start", "epoch 1", "epoch 2", "epoch 3", "finish"]
    assert sound.calls == everything
    assert broken.calls == everything[: everything.index(where)]


def test_a_library_that_cannot_be_imported_in_the_job_is_a_note(trackers, monkeypatch):
    guarded = trackers(mlflow=Fake())
    monkeypatch.setitem(sys.modules, "vit_sweep.job.train.trackers.mlflow", None)
    guarded.start({})
    (note,) = guarded.notes
    assert note.startswith("mlflow: nothing was logged: ModuleNotFoundError")


def test_a_missing_library_is_refused_with_the_words_that_install_it():
    require_loggers([])
    require_loggers(["json"])
    with pytest.raises(UserError, match=r"logging=\[nowhere\]: not installed here.*vit_sweep\[track\]"):
        require_loggers(["nowhere", "json"])


def test_a_sweep_with_a_missing_library_submits_nothing(sweep, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util\n"
        "found = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *more: None if name == 'mlflow' else found(name, *more)\n"
    )
    completed = sweep("logging=mlflow", "study=s", env={"PYTHONPATH": str(tmp_path)})
    assert (completed.returncode, completed.stdout) == (2, "")
    assert "logging=[mlflow]: not installed here" in completed.stderr
    assert "Traceback" not in completed.stderr
    assert not (tmp_path / "outputs").exists()


def test_an_epoch_is_told_as_the_record_has_it():
    base_record = record(cell())
    logged = epoch_figures(base_record.requested, base_record.epochs[1])
    assert set(logged) == set(epoch_names(Task.CLASSIFICATION))
    assert (logged["train/loss"], logged["test/accuracy"], logged["epoch/seconds"]) == (2.0, 0.125, 1.0)
    assert logged["epoch/images_per_s"] == base_record.epochs[1].images / 1.0
    assert logged["epoch/learning_rate"] == base_record.requested.optimizer.learning_rate


def test_the_learning_rate_of_an_epoch_is_that_of_its_last_step():
    warming = cell(lr_warmup_epochs=2.0)
    rates = [epoch_figures(warming, epoch)["epoch/learning_rate"] for epoch in record(warming).epochs]
    assert rates == pytest.approx([0.0005, 0.001, 0.001])


def test_the_runs_figures_are_numbers_and_leave_out_what_was_not_measured():
    without_profile = replace(record(cell()), breakdown=Breakdown(notes=("no profile",)))
    logged = run_figures(without_profile)
    assert logged["final/epoch_s"] == 1.0
    assert logged["final/peak_host_mib"] == 500.0
    assert "final/peak_device_mib" not in logged
    assert all(isinstance(value, float) for value in logged.values())


def test_every_field_of_the_cell_is_a_parameter():
    logged = parameters(cell())
    assert (logged["gpus"], logged["model.layers"], logged["optimizer.kind"]) == (1, 2, "adamw")
    assert logged["global_batch"] == 16
    assert None not in logged.values()


def test_a_count_lies_beside_the_formulas():
    this_cell = cell()
    formula = forward_flop(this_cell.model, 10) * 16
    count = counted_flop(
        this_cell.model, 10, images=16, flop=1.25 * formula, macs=0.5 * formula, parameters=7, file="f.txt"
    )
    assert (count.formula_flop, count.flop_ratio) == (formula, 1.25)
    assert count.formula_parameters == model_parameters(this_cell.model, 10)
    assert "FLOP ratio 1.2500" in count.sentence
    with_count = replace(record(this_cell), breakdown=Breakdown(flop=count))
    assert to_plain(with_count)["breakdown"]["flop"]["flop_ratio"] == 1.25


def test_nothing_is_logged_or_profiled_unless_asked_for():
    assert (JobOptions().logging, JobOptions().deepspeed_profilers) == ((), ())
