"""What several processes draw is what one would: each thing once, in order, whatever becomes of a helper."""

import os
import threading

import pytest

from vit_sweep.report.figures.sheet import processes
from vit_sweep.report.figures.sheet.processes import shared, side_by_side


@pytest.fixture
def cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})


def met(own, other):
    """Wait until somebody else draws what belongs to `other`, and say who this is."""
    os.write(own[1], b"x")
    assert os.read(other[0], 1) == b"x"
    return os.getpid()


def test_two_processes_draw_at_the_same_time(bounded):
    """Each of these ends only once the other has begun."""
    one, other = os.pipe(), os.pipe()
    who = shared([lambda: met(one, other), lambda: met(other, one), lambda: "third"], processes=2)
    assert len(set(who[:2])) == 2
    assert os.getpid() not in who
    assert who[2] == "third"


def test_everything_comes_once_and_in_order(cores, tmp_path):
    def drawn(number):
        with (tmp_path / "log").open("a") as log:
            log.write(f"{number}\n")
        return number

    many = 50
    assert side_by_side([lambda number=number: drawn(number) for number in range(many)]) == list(range(many))
    assert sorted(map(int, (tmp_path / "log").read_text().split())) == list(range(many))


def test_what_a_lost_helper_had_taken_is_drawn_here(bounded):
    """Helpers end without a word at what they take."""
    here = os.getpid()

    def one():
        if os.getpid() != here:
            os._exit(1)
        return here

    assert shared([one, one], processes=2) == [here, here]


def test_what_cannot_be_drawn_raises_what_it_would_alone(cores):
    def broken():
        raise ValueError("no data")

    with pytest.raises(ValueError, match="no data"):
        side_by_side([broken] * 8)


def test_with_other_threads_or_for_a_few_nothing_is_forked(cores, monkeypatch):
    monkeypatch.setattr(processes, "shared", lambda *_, **__: pytest.fail("forked"))
    assert side_by_side([os.getpid] * 3) == [os.getpid()] * 3
    over = threading.Event()
    other = threading.Thread(target=over.wait)
    other.start()
    assert side_by_side([os.getpid] * 8) == [os.getpid()] * 8
    over.set()
    other.join()
