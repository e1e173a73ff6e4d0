"""How moments become phases and steps."""

import pytest

from vit_sweep.record.breakdown import Phase

pytestmark = pytest.mark.train


class Given:
    """Marks whose gaps are given."""

    def __init__(self, gaps):
        self.gaps = gaps

    def mark(self):
        pass

    def gaps_ms(self):
        gaps, self.gaps = self.gaps, []
        return gaps


def clock(gaps, accum=1, communication=True):
    from vit_sweep.job.train.clock import StepClock, phases_of_step

    return StepClock(Given(gaps), phases_of_step(accum, communication=communication))


def test_every_moment_of_a_step_is_in_exactly_one_phase():
    steps, phases = clock([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0] * 2).read()
    assert steps == [28.0, 28.0]
    sums = phases.sum_ms
    assert (sums.data_wait, sums.copy, sums.forward, sums.backward) == (2.0, 4.0, 6.0, 8.0)
    assert (sums.communication, sums.optimizer, sums.other) == (10.0, 12.0, 14.0)


def test_micro_steps_are_summed_into_their_step():
    """Accumulation: 5 marks of a micro step before the boundary's 7."""
    steps, phases = clock([1.0] * 5 * 3 + [1.0] * 7, accum=4).read()
    assert steps == [22.0]
    assert (phases.steps, phases.median_ms.forward, phases.median_ms.other) == (1, 4.0, 4.0)
    assert (phases.median_ms.communication, phases.median_ms.optimizer) == (1.0, 1.0)


def test_a_reduction_in_hooks_has_no_phase_of_its_own():
    steps, phases = clock([1.0] * 6, communication=False).read()
    assert steps == [6.0]
    assert phases.median_ms.communication is None


def test_a_step_that_was_broken_off_is_none():
    steps = clock([1.0] * 7 + [1.0] * 3)
    assert steps.read()[0] == [7.0]
    assert steps.read() == ([], None)


def test_every_phase_is_ended_by_a_mark():
    from vit_sweep.job.train.clock import phases_of_step

    assert set(phases_of_step(2, communication=True)) == set(Phase)
    assert len(phases_of_step(4, communication=True)) == 3 * 5 + 7


def test_the_hosts_clock_gives_gaps_once():
    from vit_sweep.job.train.clock import HostMarks

    marks = HostMarks()
    for _ in range(3):
        marks.mark()
    assert len(marks.gaps_ms()) == 2
    assert marks.gaps_ms() == []


class FakeEvent:
    """A moment on a stream that is there without a GPU: it comes by when the device gets there."""

    made, comes_by = 0, 0.0

    def __init__(self, *, enable_timing):
        assert enable_timing
        FakeEvent.made += 1

    def record(self):
        FakeEvent.comes_by += 2.0
        self.at = FakeEvent.comes_by

    def elapsed_time(self, after):
        return after.at - self.at


def test_the_devices_clock_waits_for_the_device_only_when_it_is_read_and_makes_its_events_once(monkeypatch):
    import torch

    from vit_sweep.job.train.clock import DeviceMarks

    waits = []
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waits.append(1))
    marks = DeviceMarks()
    for epoch in (1, 2):
        for _ in range(4):
            marks.mark()
        assert len(waits) == epoch - 1
        assert marks.gaps_ms() == [2.0, 2.0, 2.0]
    assert (FakeEvent.made, len(waits)) == (4, 2)


@pytest.mark.parametrize(
    ("step_s", "trained", "rounds", "block"),
    [
        *((0.0, many, 9, 3) for many in (81, 10**6)),
        *((step_s, 10**6, *wanted) for step_s, wanted in ((0.1, (9, 3)), (1.0, (6, 3)), (2.0, (9, 1)), (3.0, (6, 1)))),
        (100.0, 10**6, 6, 1),
        *(
            (0.1, many, *wanted)
            for many, wanted in ((80, (8, 3)), (53, (9, 1)), (27, (9, 1)), (26, (8, 1)), (3, (6, 1)))
        ),
    ],
)
def test_long_steps_and_steps_of_short_runs_are_repeated_less_often(step_s, trained, rounds, block):
    from vit_sweep.plan.predict.measuring import rounds_and_steps

    assert rounds_and_steps(step_s, trained) == (rounds, block)
