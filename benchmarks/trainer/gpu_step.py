"""Images/s and MFU of the trainer on one GPU, beside the paper's protocol: all variants interleaved in one run.

    python benchmarks/trainer/gpu_step.py [--seconds 450] [--micro-batch 256] [--peak-tflops bf16=989,...] [--json FILE]
    python benchmarks/trainer/gpu_step.py --device cpu --model tiny --image-size 32 --seconds 20

Variants: fp32, TF32, bf16, bf16 + compile, each with the `device` and the `loader` pipeline; a plain fp32 loop with
PIL, 2 workers and `.item()` in every step (batches of 64, the paper's largest on a T4); and one variant once more, as
A/A control. A round gives each of them one block of steps, in an order drawn anew, so a GPU that gets hot hurts all
alike; rates are medians over rounds, ratios are paired within a round, intervals hold the median with 95 %. The run
plans its rounds by what the first blocks took and ends within `--seconds` of its imports, set-up included. A variant
that cannot be is a reason in the results, not an end. docs/performance.md says what the numbers mean.
"""

import argparse
import gc
import os
import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
import yaml

from benchmarks.provenance import options, report
from benchmarks.trainer.one_rank import one_rank
from benchmarks.trainer.step_report import Block, Variant, goals, peaks_of, rates, row, said_peaks, steps_for
from benchmarks.trainer.step_variants import MODELS, PLAIN, Workshop, loader_workers, variants
from launchers.checked import to_plain
from launchers.process.identity import RankIdentity
from launchers.profile import Device
from vit_sweep.job.train.machine.fingerprint import fingerprint, processor
from vit_sweep.job.train.measure.preflight import matmul_tflops
from vit_sweep.job.train.model import DTYPES, multiply_in
from vit_sweep.plan.choices import Precision

ROUNDS, MOST_ROUNDS = 7, 40
LONGEST_BLOCK_S, PROBE_STEPS = 4.0, 4
SETUP_SHARE = 0.6
"""Of the time that set-up may take; a variant whose turn comes later is left out with a reason."""
OVERTIME_S = 20
"""How far behind the plan a stuck variant may bring the run before it is cut, with what was found until then."""
MATMUL_SIZE = {"cuda": 8192, "cpu": 256}
PROFILES = Path(__file__).parents[2] / "conf" / "partition"

T = TypeVar("T")


class Run:
    """One run: what was found, and how much time is left for more."""

    def __init__(
        self,
        workshop: Workshop,
        *,
        begun: float,
        seconds: float,
        peak: Mapping[str, float],
        matmul: Mapping[str, float],
        head: Mapping[str, Any],
        args: argparse.Namespace,
    ) -> None:
        self._workshop, self._begun, self._seconds = workshop, begun, seconds
        self._peak, self._matmul, self._head, self._given = peak, matmul, head, args
        self._all = variants()
        self._blocks: dict[str, list[Block]] = {variant.name: [] for variant in self._all}
        self._order: list[set[str]] = []  # names of each finished round, so that ratios are paired
        self._said: dict[str, tuple[str, str]] = {}  # name -> (status, reason)
        self._ready: dict[str, Callable[[], Block]] = {}

    def left_s(self) -> float:
        """Seconds of the budget that are left."""
        return self._seconds - (time.perf_counter() - self._begun)

    def go(self) -> None:
        """Set up, run rounds while there is time for one more."""
        step_s = self._probe()
        if not self._ready:
            return
        block_s = min(LONGEST_BLOCK_S, 0.85 * self.left_s() / (ROUNDS * len(step_s)))
        for variant in [v for v in self._all if v.name in step_s]:
            workers = self._workshop.workers if "loader" in variant.name else 0
            self._make(variant, steps_for(block_s, step_s[variant.name], workers))
        order, longest = random.Random(0), 0.0
        while self._ready and len(self._order) < MOST_ROUNDS and (not self._order or self.left_s() > 1.1 * longest):
            begun = time.perf_counter()
            names = [v.name for v in self._all if v.name in self._ready]
            outcomes = {name: self._try(name, self._ready[name]) for name in order.sample(names, len(names))}
            for name, block in outcomes.items():
                if block is not None:
                    self._blocks[name].append(block)
            self._order.append({name for name, block in outcomes.items() if block is not None})
            longest = max(longest, time.perf_counter() - begun)

    def _probe(self) -> dict[str, float]:
        """Make every variant ready, warm, and known by its seconds of a step."""
        outcomes: dict[str, float] = {}
        needed = (1 - SETUP_SHARE) * self.left_s()
        for variant in self._all:
            reason = self._workshop.why_not(variant)
            if reason is not None:
                self._said[variant.name] = ("skipped", reason)
            elif outcomes and self.left_s() < needed:
                self._said[variant.name] = ("skipped", f"no time left to set it up in {self._seconds:g} s")
            else:
                self._make(variant, PROBE_STEPS)
                for _ in range(2):  # the first block compiles, and chooses kernels
                    block = self._try(variant.name, self._ready.get(variant.name))
                if block is not None:
                    outcomes[variant.name] = sum(block.step_ms) / len(block.step_ms) / 1000
            status, reason = self._said.get(variant.name, ("ready", ""))
            print(f"{variant.name}: {status} {reason} ({self.left_s():.0f} s left)", flush=True)
        return outcomes

    def _make(self, variant: Variant, steps: int) -> None:
        self._ready.pop(variant.name, None)
        gc.collect()  # trainers lie in circles: the old one's workers and images go now
        ready = self._try(variant.name, lambda: self._workshop.ready(variant, steps))
        if ready is not None:
            self._ready[variant.name] = ready

    def _try(self, name: str, work: Callable[[], T] | None) -> T | None:
        """What `work` returns; None, and the variant's end with a reason, if it fails."""
        if work is None:
            return None
        try:
            return work()
        except Exception as error:  # whatever a compiler, a driver or a full GPU says: the others go on
            text = str(error).strip() or "no reason given"
            refused = type(error).__name__ == "JobError"
            reason = text.splitlines()[0]
            self._said[name] = ("skipped", reason) if refused else ("failed", f"{type(error).__name__}: {reason}")
            self._ready.pop(name, None)
        gc.collect()
        torch.cuda.empty_cache()
        return None

    def results(self, note: str = "") -> dict[str, Any]:
        """Everything that is known now, as plain data."""
        paper = self._blocks[PLAIN]
        rows: dict[str, dict[str, Any]] = {}
        for variant in self._all:
            blocks = self._blocks[variant.name]
            status, reason = self._said.get(variant.name, ("skipped", "no round was finished in the time given"))
            if not blocks:
                rows[variant.name] = {"status": status, "reason": reason}
                continue
            both_orders = [names for names in self._order if {PLAIN, variant.name} <= names]
            published = rates(paper, self._workshop.batch(replace(variant, plain=True))) if paper else None
            paired = published if published is not None and len(both_orders) == len(blocks) == len(paper) else None
            precision = variant.precision.value
            rows[variant.name] = row(
                variant,
                blocks,
                batch=self._workshop.batch(variant),
                paper=paired,
                model=self._workshop.model,
                classes=self._workshop.data.classes,
                peak=self._peak.get(precision),
                matmul=self._matmul.get(precision),
            )
            if variant.name in self._said:
                rows[variant.name]["note"] = f"{status} later: {reason}"
        return dict(self._head) | {
            "seconds": round(time.perf_counter() - self._begun, 1),
            "rounds": len(self._order),
            "note": note,
            "goals": goals(rows) if self._peak else {},
            "variants": rows,
        }

    def write(self, note: str = "") -> None:
        """Print the results, and write them if a file was named."""
        outcomes = self.results(note)
        for name, outcome in outcomes["variants"].items():
            print(f"{name:<24}{row_text(outcome)}")
        for name, goal in outcomes["goals"].items():
            print(f"{name}: {goal['best']} (goal {goal['goal']})")
        print(f"{outcomes['rounds']} rounds, {outcomes['seconds']} s {note}", flush=True)
        report(outcomes, self._given)

    def cut(self) -> None:
        """From the timer's thread: a variant hangs. Save what there is and leave."""
        self.write(f"cut after {self._seconds + OVERTIME_S:g} s: a variant was stuck")
        os._exit(1)


def row_text(outcome: Mapping[str, Any]) -> str:
    """One line of a row."""
    if outcome["status"] != "measured":
        return f"{outcome['status']}: {outcome['reason']}"
    rate, share, times = outcome["images_per_s"], outcome["mfu"], outcome["times_paper"]
    return (
        f"{rate['median']:>10,.1f} images/s ({rate['low']:,.1f} to {rate['high']:,.1f})"
        + (f", MFU {share['median']:.1%}" if share else "")
        + (f", x {times['median']:.2f} ({times['low']:.2f} to {times['high']:.2f})" if times else "")
    )


def measured_matmul(device: torch.device) -> dict[str, float]:
    """TFLOP/s of square products that this device reaches now, by precision."""
    rates_by_precision = {}
    for precision in (Precision.FP32, Precision.TF32, Precision.BF16):
        if precision is Precision.TF32 and device.type == "cpu":
            continue
        multiply_in(precision)
        rates_by_precision[precision.value] = matmul_tflops(MATMUL_SIZE[device.type], device, DTYPES[precision])
    return rates_by_precision


def main() -> int:
    """Read the command line, measure, write."""
    begun = time.perf_counter()
    parser = options(__doc__)
    parser.add_argument("--seconds", type=float, default=450, help="of the whole run, after the imports")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--model", choices=tuple(MODELS), default="vit_b_16")
    parser.add_argument("--image-size", type=int, help="pixels of a side; the model's own if not said")
    parser.add_argument("--micro-batch", type=int, help="images of a step: 256 on a GPU, 8 on a CPU")
    parser.add_argument("--plain-batch", type=int, help="of the paper's loop: 64 on a GPU, 8 on a CPU")
    parser.add_argument("--workers", type=int, default=loader_workers(), help="processes of the loader pipeline")
    parser.add_argument("--peak-tflops", type=said_peaks, help="bf16=989,tf32=494.5,fp32=67; else by the GPU's name")
    args = parser.parse_args()
    cuda = args.device == "cuda"
    if cuda and not torch.cuda.is_available():
        print("no GPU here, so nothing was measured; --device cpu --model tiny runs the same code on a core")
        return 0
    model = MODELS[args.model]
    model = replace(model, image_size=args.image_size or model.image_size)
    identity = RankIdentity(
        rank=0,
        world_size=1,
        local_rank=0,
        local_world_size=1,
        node_rank=0,
        nodes=1,
        node_name=socket.gethostname(),
        task_index=0,
        restart=0,
        job_id="benchmark",
        visible_gpus=int(cuda),
    )
    machine, _ = fingerprint(identity, Device.CUDA if cuda else Device.CPU)  # before the GPU is touched
    device = torch.device("cuda", 0) if cuda else torch.device("cpu")
    if not cuda:
        torch.set_num_threads(1)
    gpu = torch.cuda.get_device_name() if cuda else ""
    profiles = [yaml.safe_load(path.read_text()) for path in sorted(PROFILES.glob("*.yaml"))]
    peak, source = peaks_of(gpu, profiles)
    if args.peak_tflops:
        peak, source = args.peak_tflops, "--peak-tflops"
    with one_rank(cuda=cuda):
        workshop = Workshop(
            device=device,
            model=model,
            workers=args.workers,
            micro_batch=args.micro_batch or (256 if cuda else 8),
            plain_batch=args.plain_batch or (64 if cuda else 8),
        )
        matmul = measured_matmul(device)
        head = {
            "schema_version": 1,
            "device": gpu or processor(),
            "model": to_plain(model),
            "workers": args.workers,
            "peak_tflops": peak,
            "peak_from": source,
            "matmul_tflops": matmul,
            "fingerprint": to_plain(machine),
        }
        run = Run(workshop, begun=begun, seconds=args.seconds, peak=peak, matmul=matmul, head=head, args=args)
        watch = threading.Timer(run.left_s() + OVERTIME_S, run.cut)
        watch.daemon = True
        watch.start()
        run.go()
        watch.cancel()
        run.write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
