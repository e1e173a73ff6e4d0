"""What a stretch of work cost a process on its host, from the kernel's running sums."""

from pathlib import Path

import pytest

from vit_sweep.job import host_time
from vit_sweep.job.host_time import Moment, between, moment
from vit_sweep.record.machine import HostTime

FIRST = Moment(wall_s=10.0, cpu_s=4.0, waited_s=1.0, switches=7, pressure_s=3.0, stopped_s=0.5)
THEN = Moment(wall_s=20.0, cpu_s=12.0, waited_s=3.5, switches=19, pressure_s=8.0, stopped_s=2.0)
SUMS = {
    "/proc/thread-self/schedstat": "123456789 2500000000 42\n",
    "/proc/pressure/cpu": "some avg10=1.53 avg60=0.87 avg300=0.73 total=7000000\nfull avg10=0.00 total=9\n",
}


def test_what_passed_between_two_moments_is_the_difference_of_their_sums(monkeypatch):
    monkeypatch.setattr(host_time.os, "getloadavg", lambda: (13.0, 5.0, 2.0))
    assert between(FIRST, THEN) == HostTime(
        seconds=10.0, cpu_s=8.0, waited_s=2.5, switches=12, pressure=0.5, load=13.0, stopped_s=1.5
    )


def test_a_sum_that_the_kernel_does_not_keep_is_not_known():
    passed = between(FIRST._replace(waited_s=None), THEN._replace(pressure_s=None))
    assert (passed.waited_s, passed.pressure) == (None, None)


@pytest.mark.parametrize("gone", [[], [*SUMS]])
def test_the_kernels_sums_are_read_in_seconds_where_it_keeps_them(monkeypatch, gone):
    def read(path):
        if str(path) in gone:
            raise FileNotFoundError(path)
        return SUMS[str(path)]

    monkeypatch.setattr(Path, "read_text", read)
    now = moment(0.25)
    assert (now.waited_s, now.pressure_s, now.stopped_s) == ((None, None) if gone else (2.5, 7.0)) + (0.25,)
    assert now.cpu_s > 0 and now.wall_s > 0
