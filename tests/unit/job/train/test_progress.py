"""What an attempt says of its way: steps and seconds since it began to train, not since the run did."""

from launchers.checked import parse_json
from launchers.identity import RankIdentity
from tests.unit.builders import cell, series
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


def test_steps_and_seconds_are_those_of_this_attempt_and_only_of_its_training(tmp_path, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    trains = cell(epochs=4)
    me = RankIdentity(
        task_index=0, restart=0, job_id="17_0", rank=0, world_size=1, local_rank=0, local_world_size=1, node_rank=0,
        nodes=1, node_name="n1", visible_gpus=1,
    )  # fmt: skip
    file = CellFile(cell_id=trains.cell_id, cell=trains, series=(series(),), data_root="/data")
    execution = Execution(
        file=file, me=me, cell_dir=tmp_path, attempt=tmp_path, begun=clock.now, code="c", guardian=Deaf()
    )

    def told(after_s, *where):
        clock.now += after_s
        execution.tell(*where)
        said = parse_json(Progress, (tmp_path / "progress.json").read_text(), what="progress")
        return said.steps, said.trained_steps, said.trained_s, bool(said.at)

    steps = trains.steps_per_epoch
    assert told(7, "preflight") == (0, 0, 0.0, False)
    assert told(1, "training", 2, 5) == (steps + 5, 0, 0.0, True)
    assert told(30, "training", 3, 0) == (2 * steps, steps - 5, 30.0, True)
    assert told(9, "saving a checkpoint", 4, 0) == (2 * steps, steps - 5, 30.0, True)
    assert told(2, "training", 4, 0) == (3 * steps, 2 * steps - 5, 41.0, True)
    assert told(20, "measuring", 4) == (3 * steps, 2 * steps - 5, 41.0, True)
