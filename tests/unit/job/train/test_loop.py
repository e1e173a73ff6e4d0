"""What an epoch reports of its steps, of an engine that hardly computes: nothing is trained."""

import gc
from types import SimpleNamespace
from weakref import ref

import pytest
import torch
import torch.distributed as dist

from tests.e2e.train.ranks import small_cell
from tests.e2e.train.trainers import trainer_of
from tests.warm import count_frozen
from vit_sweep.job.train.measure.exposed import measure_exposed
from vit_sweep.plan.specs import EngineSpec

pytestmark = pytest.mark.train


@pytest.fixture(autouse=True)
def alone(tmp_path):
    """A process group of this process alone."""
    dist.init_process_group("gloo", store=dist.FileStore(f"{tmp_path}/store", 1), rank=0, world_size=1)
    yield
    dist.destroy_process_group()
    gc.unfreeze()


class Engine:
    """As much of one as the loop asks for; every image is of each class by the same score."""

    def __init__(self, *, overflows=(), mean=lambda images: images.mean()):
        self.skipped_steps, self.steps = 0, 0
        self.module = torch.nn.Identity()
        self.overflows, self.mean = overflows, mean
        self.optimizer = SimpleNamespace(param_groups=[])
        self.at_step = []
        """Calls before every update."""

    def exchange_apart(self, wanted):
        return False

    def forward(self, images, *, boundary):
        return self.mean(images) * torch.ones(len(images), 4)

    def evaluate(self, images):
        return torch.zeros(len(images), 4)

    def backward(self, loss, *, boundary):
        pass

    def step(self, *, boundary):
        for call in self.at_step:
            call()
        self.skipped_steps += self.steps in self.overflows
        self.steps += 1


def trainer(engine, **changes):
    """Of six steps an epoch."""
    return trainer_of(small_cell(**changes), 0, engine=engine)[0]


def test_exposed_communication_of_ddp_is_measured_without_a_step_before():
    """In a run that goes on after its last epoch: DDP learns its graph in its first step, which must exchange."""
    engine = EngineSpec(name="ddp", zero_stage=None, kind="ddp")
    this_trainer, _ = trainer_of(small_cell(engine=engine), 0)
    assert measure_exposed(this_trainer._bench(), seed=0, usual_step_s=0.001, trained_steps=18).rounds > 0


def test_steps_that_the_engine_skipped_are_noted_by_their_number_in_their_epoch():
    """Planted: an overflow in the second and the last step of the first epoch, and in the third of the second."""
    trainer_made = trainer(Engine(overflows={1, 5, 8}))
    assert [trainer_made.epoch().skipped_steps for _ in range(3)] == [(1, 5), (2,), ()]


def test_in_timed_steps_no_old_object_is_looked_at_for_garbage():
    """Planted: a circle that nobody holds any more, and all that was there before the epoch."""
    circle = Engine()
    circle.itself, gone = circle, ref(circle)
    del circle
    engine, observations = Engine(), []
    engine.at_step.append(lambda: observations.append((gone() is None, len(gc.get_objects()), count_frozen())))
    trainer(engine).epoch()
    assert len(observations) == 6
    assert all(collected and frozen > 10 * looked_at for collected, looked_at, frozen in observations)
    assert gc.isenabled(), "what a step leaves behind may hold device memory"


def test_graphs_that_break_and_are_compiled_again_are_counted_in_their_epoch():
    """Planted: one break, two graphs around it; then another number format, for which both are compiled again."""
    dtype = [torch.float32]

    def broken(images):
        total = images.abs().sum()
        torch._dynamo.graph_break()
        return total / images.numel()

    compiled = torch.compile(broken, backend="eager")
    trainer_made = trainer(Engine(mean=lambda images: compiled(images.to(dtype[0])).float()), compile=True)
    first, second = trainer_made.epoch(), trainer_made.epoch()
    dtype[0] = torch.float64
    third = trainer_made.epoch()
    counts = [[(rank.graphs, rank.breaks) for rank in epoch.compiled_by_rank] for epoch in (first, second, third)]
    assert counts == [[(2, 1)], [(0, 0)], [(2, 1)]]
