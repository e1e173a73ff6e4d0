"""The GPU benchmark's own logic, on a core: every variant that a processor can run is run, the rest has a reason."""

import json
import sys
from types import SimpleNamespace

import pytest
import torch

from benchmarks.trainer import gpu_step
from benchmarks.trainer.step_variants import PLAIN, Block, variants
from tests.e2e.train.ranks import Program
from tests.unit.builders import DATA, MODEL

pytestmark = pytest.mark.train


ONE_ROUND = """
import sys
from benchmarks.trainer import gpu_step
gpu_step.MOST_ROUNDS, gpu_step.LONGEST_BLOCK_S = 1, 0.0
sys.argv[0] = gpu_step.__file__
sys.exit(gpu_step.main())
"""
"""The benchmark as a user runs it, but for its rounds: one of the shortest blocks, however long that takes."""


def test_on_a_core_every_variant_is_measured_or_has_a_reason(tmp_path):
    file = tmp_path / "found.json"
    small = ("--device", "cpu", "--model", "tiny", "--image-size", 16, "--workers", 1)
    words = (*small, "--seconds", 3600, "--peak-tflops", "fp32=0.1,bf16=0.1", "--json", file)
    program = Program(tmp_path, ONE_ROUND, *words)
    assert program.wait() == 0, program.out + program.err
    report = json.loads(file.read_text())
    rows = report["variants"]
    assert set(rows) == {variant.name for variant in variants()}
    measured = {name for name, row in rows.items() if row["status"] == "measured"}
    assert measured == {PLAIN, "bf16, device", "bf16, device, again", "fp32, device", "bf16, loader", "fp32, loader"}
    for name, row in rows.items():
        if name not in measured:
            assert (row["status"], bool(row["reason"])) == ("skipped", True)
            continue
        assert row["images_per_s"]["median"] > 0
        assert row["rounds"] == report["rounds"] == 1
        assert row["mfu"]["median"] > 0
        assert row["times_paper"]["median"] > 0
        assert (row["phases_ms"] is None) == (name == PLAIN)
    assert rows["fp32, device"]["phases_ms"]["backward"] > 0
    assert "a processor does not train in it" in rows["tf32, device"]["reason"]
    assert report["goals"]["times_paper"]["best"] > 0
    assert report["fingerprint"]["torch"] == torch.__version__
    assert report["matmul_tflops"]["fp32"] > 0
    assert report["made_by"]["command"].startswith("python benchmarks/trainer/gpu_step.py --device cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_and_measures_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu_step.py", "--json", str(tmp_path / "found.json")])
    assert (gpu_step.main(), capsys.readouterr().out.count("no GPU here")) == (0, 1)
    assert not list(tmp_path.iterdir())


# --- the run's decisions, with blocks that cost nothing ------------------------------------------------------------


class Fake:
    """A workshop whose blocks take no time, apart from those that fail: `faults` is name -> number of the block."""

    workers, model, data = 2, MODEL, DATA

    def __init__(self, faults=()):
        self.faults, self.made, self.ran = dict(faults), {}, {}

    def batch(self, variant):
        return 4 if variant.plain else 8

    def why_not(self, variant):
        return "not here" if variant.compile else None

    def ready(self, variant, steps):
        name = variant.name
        self.made[name] = steps

        def block():
            self.ran[name] = self.ran.get(name, 0) + 1
            if self.ran[name] == self.faults.get(name):
                raise RuntimeError("the driver is gone\nand more")
            return Block(step_ms=(1.0,) * steps, phases_ms=None, peak_memory_mib=None)

        return block


def found_by(fake, *, clock=None, seconds=100.0):
    run = gpu_step.Run(
        fake, begun=gpu_step.time.perf_counter(), seconds=seconds, peak={"bf16": 1.0}, matmul={}, head={}, args=None
    )
    if clock is not None:
        run.left_s = clock
    run.go()
    return run.results()


def test_a_variant_that_fails_is_a_reason_and_the_others_go_on(monkeypatch):
    monkeypatch.setattr(gpu_step, "MOST_ROUNDS", 5)
    report = found_by(Fake({"fp32, device": 1, "bf16, loader": 4}))
    rows = report["variants"]
    assert rows["fp32, device"] == {"status": "failed", "reason": "RuntimeError: the driver is gone"}
    assert rows["tf32, device"]["rounds"] == report["rounds"] == 5
    late = rows["bf16, loader"]  # two blocks for the set-up, one good round, then its end
    assert (late["rounds"], late["note"]) == (1, "failed later: RuntimeError: the driver is gone")
    assert late["times_paper"] is None, "its rounds are not all of the plain loop's"
    assert rows["bf16, device"]["times_paper"]["median"] == 2.0
    assert rows["bf16 + compile, device"] == {"status": "skipped", "reason": "not here"}


def test_nothing_is_lost_when_everything_fails():
    report = found_by(Fake({variant.name: 1 for variant in variants()}))
    assert {row["status"] for row in report["variants"].values()} == {"failed", "skipped"}
    assert report["rounds"] == 0


def test_late_variants_are_left_out_when_setting_up_took_too_long():
    """Each question what is left costs ten seconds, of a hundred."""
    left = SimpleNamespace(s=110.0)

    def clock():
        left.s -= 10
        return left.s

    report = found_by(Fake(), clock=clock)["variants"]
    out = [name for name, row in report.items() if "no time left to set it up" in row.get("reason", "")]
    assert out
    assert out == [variant.name for variant in variants() if not variant.compile][-len(out) :], "the last ones"
    assert report[PLAIN]["rounds"] == 1, "one round is run in any case"


def test_rounds_end_before_the_time_does(monkeypatch):
    """Each round takes as long as a tick of the clock: the last one that is begun still fits."""
    now = SimpleNamespace(s=0.0)

    class Slow(Fake):
        def ready(self, variant, steps):
            block = super().ready(variant, steps)

            def slow():
                now.s += 1.0
                return block()

            return slow

    monkeypatch.setattr(gpu_step.time, "perf_counter", lambda: now.s)
    fake = Slow()
    report = found_by(fake, seconds=60.0)
    variants_run = len(fake.made)
    assert now.s <= 60.0
    assert report["rounds"] == int((60 - 2 * variants_run) // variants_run)
