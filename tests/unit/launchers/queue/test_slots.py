"""Slots of this machine: taken all or none, and never by two."""

from launchers.queue.slots import Slots

NAMES = ["core-0", "core-1", "core-2"]


def test_slots_are_taken_all_or_none(tmp_path):
    slots, other = Slots(NAMES, tmp_path), Slots(NAMES, tmp_path)
    assert slots.take(2) == ["core-0", "core-1"]
    assert other.take(2) is None
    assert slots.take(2) is None
    assert other.take(1) == ["core-2"]


def test_two_holders_never_share_a_slot(tmp_path):
    holders = [Slots(NAMES, tmp_path) for _ in range(4)]
    taken = [holder.take(1) for holder in holders]
    assert sorted(names[0] for names in taken if names) == NAMES
    assert taken.count(None) == 1


def test_slots_given_back_are_free_for_everyone(tmp_path):
    slots, other = Slots(NAMES, tmp_path), Slots(NAMES, tmp_path)
    taken = slots.take(3)
    assert other.take(1) is None
    slots.give_back(taken[1:])
    assert other.take(2) == ["core-1", "core-2"]


def test_more_than_there_are_means_all_of_them(tmp_path):
    slots = Slots(NAMES, tmp_path)
    assert slots.take(8) == NAMES
    assert len(slots) == 3
