"""Counts of a step over ranks: nothing that one rank does is lost in what the others do."""

from dataclasses import replace

from launchers.checked import parse, to_plain
from vit_sweep.record.breakdown import Breakdown
from vit_sweep.record.counts import CollectiveKind, RankCounts, step_counts


def kinds(**calls):
    """Collectives of 8 bytes each."""
    return tuple(CollectiveKind(name=name, calls=number, bytes=8 * number) for name, number in calls.items())


RANK = RankCounts(
    collectives=kinds(all_reduce=2),
    operations=100,
    flop=10**12,
    host_reads=1,
    kernels=50,
    synchronisations=1,
    peak_memory_bytes=1000,
)


def counted(*ranks):
    return step_counts(ranks, parameters=10, all_parameters=12)


def test_equal_ranks_have_the_counts_of_one():
    assert counted(RANK, RANK) == counted(RANK)
    assert counted(RANK).collectives == kinds(all_reduce=2)
    assert (counted(RANK).parameters, counted(RANK).all_parameters) == (10, 12)


def test_one_more_on_one_of_four_ranks_shows_as_a_quarter():
    """Also where another rank has more by nature."""
    other = RANK._replace(host_reads=5, operations=500)
    before = counted(RANK, RANK, RANK, other)
    after = counted(RANK, RANK._replace(host_reads=2, operations=101, flop=10**12 + 4), RANK, other)
    assert after.host_reads - before.host_reads == after.operations - before.operations == 0.25
    assert after.flop - before.flop == 1


def test_a_collective_of_some_ranks_counts_in_part():
    some = RANK._replace(collectives=kinds(all_gather=4, all_reduce=2))
    assert counted(RANK, some).collectives == kinds(all_gather=2, all_reduce=2)


def test_the_peak_is_that_of_the_fullest_rank():
    assert counted(RANK, RANK._replace(peak_memory_bytes=3000)).peak_memory_bytes == 3000


def test_what_one_rank_does_not_know_is_not_known():
    blind = RANK._replace(kernels=None, synchronisations=None, peak_memory_bytes=None)
    counts = counted(RANK, blind)
    assert (counts.kernels, counts.synchronisations, counts.peak_memory_bytes) == (None, None, None)


def test_counts_come_back_from_a_file_and_older_files_have_none():
    breakdown = Breakdown(counts=counted(RANK))
    plain = to_plain(breakdown)
    assert parse(Breakdown, plain, source="breakdown") == breakdown
    del plain["counts"]
    assert parse(Breakdown, plain, source="breakdown") == replace(breakdown, counts=None)
