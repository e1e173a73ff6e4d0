"""What an attempt says of its way: steps and seconds since it began to train, not since the run did."""

from launchers.checked import parse_json
from tests.unit.builders import cell, rank_identity, series
from vit_sweep.job.train import execution as module
from vit_sweep.job.train.execution import Execution
from vit_sweep.outcome.ending import Progress
from vit_sweep.plan.cell import CellFile


class Deaf:
    """A watchdog that nobody needs here."""

    def beat(self, phase, epoch, step):
        """Hear of a step."""


class Clock:
    """Seconds as this test says."""

    now = 100.0

    def monotonic(self):
        return self.now


def execution_of(trains, folder, clock):
    me = rank_identity(visible_gpus=1)
    file = CellFile(cell_id=trains.cell_id, cell=trains, series=(series(),), data_root="/data")
    return Execution(
        file=file, identity=me, cell_dir=folder, attempt=folder, begun=clock.now, code="c", guardian=Deaf()
    )


def progress_of(folder):
    return parse_json(Progress, (folder / "progress.json").read_text(), source="progress")


def test_only_in_its_first_epoch_is_an_attempt_written_of_in_the_middle_and_not_at_every_step(tmp_path, monkeypatch):
    """Later epochs are timed."""
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    trains = cell(epochs=4)
    execution = execution_of(trains, tmp_path, clock)
    execution.tell("training", 1, 0)
    written = []
    for step in range(trains.steps_per_epoch):
        clock.now += 0.5
        execution.step("training", 1, step)
        written.append(progress_of(tmp_path).steps)
    assert written[:9] == [0, 0, 0, 3, 3, 3, 3, 7, 7]
    assert (progress_of(tmp_path).trained_steps, progress_of(tmp_path).trained_s) == (
        written[-1],
        (written[-1] + 1) / 2,
    )
    execution.tell("training", 2, 0)
    before = progress_of(tmp_path)
    for step in range(trains.steps_per_epoch):
        clock.now += 5
        execution.step("training", 2, step)
    assert progress_of(tmp_path) == before


def test_steps_and_seconds_are_those_of_this_attempt_and_only_of_its_training(tmp_path, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    trains = cell(epochs=4)
    execution = execution_of(trains, tmp_path, clock)

    def report_after(after_s, *where):
        clock.now += after_s
        execution.tell(*where)
        now = progress_of(tmp_path)
        return now.steps, now.trained_steps, now.trained_s, bool(now.at)

    steps = trains.steps_per_epoch
    assert report_after(7, "preflight") == (0, 0, 0.0, False)
    assert report_after(1, "training", 2, 5) == (steps + 5, 0, 0.0, True)
    assert report_after(30, "training", 3, 0) == (2 * steps, steps - 5, 30.0, True)
    assert report_after(9, "saving a checkpoint", 4, 0) == (2 * steps, steps - 5, 30.0, True)
    assert report_after(2, "training", 4, 0) == (3 * steps, 2 * steps - 5, 41.0, True)
    assert report_after(20, "measuring", 4) == (3 * steps, 2 * steps - 5, 41.0, True)
