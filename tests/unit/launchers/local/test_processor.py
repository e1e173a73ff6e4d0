"""How fast a core is at best, by what Linux says of it."""

import pytest

from launchers.local.processor import core_flops, flops_of

CPUINFO = """processor\t: 0
model name\t: made up
cpu MHz\t\t: 2500.000
flags\t\t: fpu sse sse2 {flags}
"""


@pytest.mark.parametrize(
    ("flags", "gflops"),
    [("", 20), ("avx", 40), ("avx avx2 fma", 80), ("avx avx2 avx512f avx512bw", 80)],
)
def test_it_is_the_clock_times_what_the_widest_instructions_do_in_a_cycle(flags, gflops):
    assert flops_of(CPUINFO.format(flags=flags)) == pytest.approx(gflops * 1e9)


@pytest.mark.parametrize("text", ["", "processor: 0\nBogoMIPS: 50", CPUINFO.replace("sse2", "").format(flags="")])
def test_a_processor_that_does_not_say_its_clock_or_instructions_is_not_guessed_at(text):
    assert flops_of(text) is None


def test_of_this_machine_it_is_something_or_nothing_and_asked_once():
    assert core_flops() is None or core_flops() > 1e9
    assert core_flops() is core_flops()
