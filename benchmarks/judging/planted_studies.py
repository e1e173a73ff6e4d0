"""Studies in which nothing is wrong, and the same with one planted flaw for each rule of the audit.

Sound: 1, 2, 4 and 8 GPUs on nodes of two, a fixed global batch, Amdahl's law, 2 % between runs and 0.5 % within
(log-normal), communication known of every rank. Rows are those of a user's CSV file; only what no column can say
(flags, machines, padding) is planted in the runs made of them.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from vit_sweep.analysis.audit.judge import audit
from vit_sweep.record.machine import Fingerprint, Gpu
from vit_sweep.runs.run import Origin, Run
from vit_sweep.runs.tidy.table import tidy

COUNTS = (1, 2, 4, 8)
BETWEEN, WITHIN = 0.02, 0.005
"""Standard deviations of the logarithm of the time between runs and between epochs of a run."""
EPOCHS, IMAGES, BATCH = 4, 51_200, 256
PARAMETERS = 86_567_656
"""ViT-B/16; its gradient in fp32 is 346 MB."""
FAST_LINK, GIGABIT = (5.0, 25.0), 0.114
"""Gigabytes a second through each rank's own link: the range of sound studies, and 1 GbE."""

Row = dict[str, Any]
Draw = np.random.Generator


class Study(NamedTuple):
    """Rows of a table and what is done to its runs afterwards."""

    rows: list[Row]
    then: Callable[[Run], Run] = lambda run: run

    def rules(self) -> set[str]:
        """The rules that speak of it."""
        texts = [(line, {name: str(value) for name, value in row.items()}) for line, row in enumerate(self.rows, 2)]
        return {finding.rule for finding in audit(map(self.then, tidy(texts, source="planted").runs)).findings}


class Planted(NamedTuple):
    """A flaw and the rule that should find it."""

    rule: str
    flaw: str
    study: Callable[[Draw], Study]


def transfer_of(gpus: int, gb_per_s: float) -> float:
    """Milliseconds of a ring's all-reduce of the gradient."""
    return 2 * (gpus - 1) / gpus * 4 * PARAMETERS / gb_per_s / 1e6


class Workload(NamedTuple):
    """What is trained on what."""

    serial: float
    """Part of an epoch on one GPU that no further GPU shortens."""
    compute_s: float
    """An epoch on one GPU."""
    link_gb_per_s: float


def workload_of(draw: Draw) -> Workload:
    """One at random."""
    link = float(np.exp(draw.uniform(*np.log(FAST_LINK))))
    return Workload(draw.uniform(0.002, 0.02), draw.uniform(800.0, 3200.0), link)


def sound(
    draw: Draw,
    *,
    seeds: int = 2,
    ranks: bool = False,
    ideal: bool = False,
    workload: Workload | None = None,
    **columns: Any,
) -> Study:
    """A study in which nothing is wrong; with `ranks` a row for each rank, and its time in collectives; `ideal`: with
    an efficiency of 1."""
    serial, compute_s, link = workload or workload_of(draw)
    serial = 0.0 if ideal else serial
    rows = []
    for gpus in COUNTS[:3] if ranks else COUNTS:
        steps = IMAGES / BATCH
        transfer_ms = 0.0 if ideal else transfer_of(gpus, link)
        for seed in range(seeds):
            run = np.exp(draw.normal(0, BETWEEN))
            seconds = run * (compute_s * (serial + (1 - serial) / gpus) + steps * transfer_ms / 1000)
            seconds = seconds * np.exp(draw.normal(0, WITHIN, EPOCHS)) * np.array([1.3] + [1.0] * (EPOCHS - 1))
            final = 0.6 + draw.normal(0, 0.01)
            for epoch in range(EPOCHS):
                row = {
                    "gpus": gpus,
                    "nodes": -(-gpus // 2),
                    "batch": BATCH,
                    "batch_per": "global",
                    "accum": 1,
                    "scaling": "strong",
                    "images": IMAGES,
                    "epochs": EPOCHS,
                    "seed": seed,
                    "epoch": epoch + 1,
                    "epoch_time_s": seconds[epoch],
                    "parameters": PARAMETERS,
                    "precision": "fp32",
                    "test_accuracy": final * (1 - np.exp(-(epoch + 1) / 2)),
                    "data": "cifar100",
                    "gpu_model": "A100",
                } | columns
                per_rank = [row]
                if ranks:
                    wait = draw.uniform(0, 0.1, gpus)
                    per_rank = [
                        row | {"rank": rank, "communication_ms": transfer_ms * (1 + wait[rank]), "host": f"n{rank}"}
                        for rank in range(gpus)
                    ]
                rows += per_rank
    return Study(rows)


def changed(study: Study, change: Callable[[Row], Row]) -> Study:
    """The study with each row updated by what `change` returns of it."""
    return study._replace(rows=[row | change(row) for row in study.rows])


def without(study: Study, column: str, where: Callable[[Row], bool] = lambda _: True) -> Study:
    """The study with a column empty in some rows."""
    return changed(study, lambda row: {column: ""} if where(row) else {})


def slower(study: Study, where: Callable[[Row], bool], factor: float) -> Study:
    """The study with some rows slower by a factor."""
    return changed(study, lambda row: {"epoch_time_s": row["epoch_time_s"] * factor} if where(row) else {})


def only(study: Study, where: Callable[[Row], bool]) -> Study:
    """The study with some rows only."""
    return study._replace(rows=[row for row in study.rows if where(row)])


def both(study: Study, other: Study) -> Study:
    """The rows of both studies."""
    return study._replace(rows=[*study.rows, *other.rows])


def of_runs(study: Study, where: Callable[[Run], bool], **fields: Any) -> Study:
    """The study with fields of some runs set."""
    return study._replace(then=lambda run: replace(run, **fields) if where(run) else run)


def per_gpu(study: Study) -> Study:
    """The study with the micro batch fixed, so that the global batch grows."""
    return changed(study, lambda _: {"batch": 64, "batch_per": "gpu"})


def weak(study: Study) -> Study:
    """The study with images in proportion to the GPUs, and the time of one GPU."""
    return changed(
        per_gpu(study),
        lambda row: {
            "scaling": "weak",
            "images": IMAGES * row["gpus"],
            "epoch_time_s": row["epoch_time_s"] * row["gpus"],
        },
    )


def both_modes(draw: Draw, *, seeds: int, ideal: bool = False) -> Study:
    """A sound study of strong and weak scaling, whose baselines are the same step, measured twice."""
    workload = workload_of(draw)
    strong, repeated = (sound(draw, seeds=seeds, ideal=ideal, workload=workload) for _ in range(2))
    return both(strong, changed(weak(repeated), _more_images))


def _more_images(row: Row) -> Row:
    """An epoch of weak scaling shows the model as many times more images, and it learns from them."""
    progress = (row["epoch"] * row["gpus"]) / 2
    return {"batch": BATCH, "test_accuracy": row["test_accuracy"] * np.expm1(-progress) / np.expm1(-row["epoch"] / 2)}


def first(row: Row) -> bool:
    """Whether a row is of the baseline."""
    return bool(row["gpus"] == 1)


def last(row: Row) -> bool:
    """Whether a row is of the largest count, which is smaller where there are rows of ranks."""
    return bool(row["gpus"] == (COUNTS[2] if "rank" in row else COUNTS[-1]))


def through(study: Study, gb_per_s: float, where: Callable[[Row], bool] = lambda _: True) -> Study:
    """The study with its collectives through another link, and steps that are longer by as much."""

    def change(row: Row) -> Row:
        ideal_ms = row["communication_ms"]
        if row["gpus"] == 1 or not where(row):
            return {}
        transfer_ms = transfer_of(row["gpus"], gb_per_s) * (1 + 0.02 * row["rank"] / row["gpus"])
        return {
            "communication_ms": transfer_ms,
            "epoch_time_s": row["epoch_time_s"] + (transfer_ms - ideal_ms) * IMAGES / BATCH / 1000,
        }

    return changed(study, change)


def drifting(row: Row) -> Row:
    """The baseline takes 14 % longer at its end than at its start."""
    return {"epoch_time_s": row["epoch_time_s"] * (1 + 0.14 * (row["epoch"] - 2) / (EPOCHS - 2))} if first(row) else {}


def means(draw: Draw) -> Study:
    """Runs of which only the mean over all epochs is stated."""
    return changed(only(sound(draw), lambda row: row["epoch"] == 1), lambda _: {"epoch": f"1-{EPOCHS}"})


def slow_learning(draw: Draw) -> Study:
    """The accuracy of an epoch falls with the global batch, as with a fixed learning rate."""
    return changed(per_gpu(sound(draw)), lambda row: {"test_accuracy": row["test_accuracy"] / row["gpus"] ** 0.7})


def unlike_seeds(study: Study, draw: Draw, deviation: float) -> Study:
    """The study with accuracies that differ between seeds by so much."""
    runs = dict.fromkeys((row["gpus"], row["seed"]) for row in study.rows)
    shifts = dict(zip(runs, draw.normal(0, deviation, len(runs)), strict=True))
    return changed(
        study,
        lambda row: {"test_accuracy": float(np.clip(row["test_accuracy"] + shifts[row["gpus"], row["seed"]], 0, 1))},
    )


def two_placements(draw: Draw) -> Study:
    """A packed series, and a spread one that starts at two GPUs."""
    spread = only(sound(draw, placement="spread"), lambda row: not first(row))
    return both(sound(draw, placement="packed"), spread)


def two_sets(draw: Draw) -> Study:
    """One data set from one GPU on, another from two."""
    return both(sound(draw), only(sound(draw, data="cifar10"), lambda row: not first(row)))


def two_modes(draw: Draw) -> Study:
    """The strong and the weak baseline are the same step, but one is 15 % slower."""
    strong = per_gpu(sound(draw))
    slowed = slower(only(strong, first), lambda _: True, 1.15)
    return both(strong, changed(slowed, lambda _: {"scaling": "weak"}))


def another_machine(draw: Draw) -> Study:
    """A study's own runs, one repeat of which had GPUs of another memory."""

    def then(run: Run) -> Run:
        odd = run.gpus == 2 and run.seed == 0
        gpu = Gpu(model="A100", memory_mib=81920.0 if odd else 40960.0)
        machine = tuple(Fingerprint(rank=rank, host="n0", gpu=gpu) for rank in range(run.gpus))
        return replace(run, origin=Origin.STUDY, machine=machine)

    return sound(draw)._replace(then=then)


def devices(study: Study, name: Callable[[Row], str]) -> Study:
    """The study with the GPU of each rank stated."""
    return changed(study, lambda row: {"device": name(row)})


FLAWS = (
    Planted(
        "global batch as batch per GPU",
        "`batch` is 64 x GPUs, batch_per not stated",
        lambda draw: without(changed(sound(draw), lambda row: {"batch": 64 * row["gpus"]}), "batch_per"),
    ),
    Planted(
        "weak rows called strong",
        "images grow with the GPUs in rows of strong scaling",
        lambda draw: changed(weak(sound(draw)), lambda _: {"scaling": "strong"}),
    ),
    Planted(
        "strong rows called weak",
        "rows of strong scaling, with equal images, called weak",
        lambda draw: changed(per_gpu(sound(draw)), lambda _: {"scaling": "weak"}),
    ),
    Planted(
        "images of one GPU",
        "weak rows with the images of one GPU",
        lambda draw: changed(weak(sound(draw)), lambda _: {"images": IMAGES}),
    ),
    Planted(
        "images of one GPU",
        "the same in strong rows",
        lambda draw: changed(sound(draw), lambda row: {"images": IMAGES // row["gpus"]}),
    ),
    Planted(
        "GPUs of one node",
        "`gpus` is 1 on 1, 2, 4 and 8 nodes",
        lambda draw: changed(sound(draw), lambda row: {"nodes": row["gpus"], "gpus": 1}),
    ),
    Planted(
        "names alike",
        "`T4` in one row, `Tesla T4` in the others",
        lambda draw: changed(sound(draw), lambda row: {"gpu_model": "T4" if last(row) else "Tesla T4"}),
    ),
    Planted("global batch grew", "64 images per GPU at every count", lambda draw: per_gpu(sound(draw))),
    Planted(
        "training accuracy",
        "only the accuracy of training images",
        lambda draw: without(
            changed(sound(draw), lambda row: {"train_accuracy": row["test_accuracy"]}), "test_accuracy"
        ),
    ),
    Planted(
        "one seed",
        "repeats with one seed",
        lambda draw: changed(sound(draw), lambda row: {"run": f"r{row['seed']}", "seed": 0}),
    ),
    Planted(
        "seeds differ",
        "two seeds of each count, 7 percentage points between seeds",
        lambda draw: unlike_seeds(sound(draw), draw, 0.07),
    ),
    Planted(
        "padded images",
        "28 % repeated images at 8 GPUs",
        lambda draw: of_runs(sound(draw), lambda run: run.gpus == 8, images=round(1.28 * IMAGES)),
    ),
    Planted(
        "throttled baseline",
        "the baseline's record is flagged",
        lambda draw: of_runs(sound(draw), lambda run: run.gpus == 1, flags=("throttled: rank 0 (20 %)",)),
    ),
    Planted("borrowed baseline", "spread runs without one on 1 GPU", two_placements),
    Planted("baseline of something else", "one data set starts at 1 GPU, the other at 2", two_sets),
    Planted("unequal baselines", "the same step is 15 % slower in the weak series", two_modes),
    Planted("efficiency above 1", "the baseline is 15 % slow", lambda draw: slower(sound(draw), first, 1.15)),
    Planted("efficiency above 1", "the same with single runs", lambda draw: slower(sound(draw, seeds=1), first, 1.15)),
    Planted("negative Karp-Flatt", "the baseline is 15 % slow", lambda draw: slower(sound(draw), first, 1.15)),
    Planted(
        "speedup below 1", "8 GPUs on a busy host take 12 times as long", lambda draw: slower(sound(draw), last, 12.0)
    ),
    Planted(
        "slow baseline clock",
        "the baseline's GPU runs 4 % below the others'",
        lambda draw: sound(draw)._replace(
            then=lambda run: replace(run, sm_clock_mhz=1152.0 if run.gpus == 1 else 1200.0)
        ),
    ),
    Planted("single runs", "one run at every count", lambda draw: sound(draw, seeds=1)),
    Planted(
        "few repeats",
        "two runs at two counts, one at the others",
        lambda draw: only(sound(draw), lambda row: row["seed"] < (2 if row["gpus"] < 4 else 1)),
    ),
    Planted(
        "repeats differ",
        "one repeat is 19 % slow",
        lambda draw: slower(sound(draw), lambda row: row["gpus"] == 2 and row["seed"] == 0, 1.19),
    ),
    Planted("drift within a run", "the baseline drifts by 14 %", lambda draw: changed(sound(draw), drifting)),
    Planted(
        "partial runs",
        "8 GPUs stop after 3 of 5 epochs",
        lambda draw: only(sound(draw), lambda row: not last(row) or row["epoch"] < 4),
    ),
    Planted(
        "missing ranks",
        "a rank's rows are lost in one epoch",
        lambda draw: only(sound(draw, ranks=True), lambda row: not last(row) or (row["rank"], row["epoch"]) != (2, 3)),
    ),
    Planted("warm-up included", "means over all epochs", means),
    Planted(
        "straggler wait",
        "communication of rank 0 alone",
        lambda draw: without(sound(draw, ranks=True), "communication_ms", lambda row: row["rank"] > 0),
    ),
    Planted(
        "straggler wait",
        "ranks wait for one of them, 40 % of the time in collectives",
        lambda draw: changed(
            sound(draw, ranks=True),
            lambda row: {"communication_ms": row["communication_ms"] * (1.0 if row["rank"] == 1 else 1.7)},
        ),
    ),
    Planted(
        "slow link",
        "the largest count reduces through 1 GbE, the others do not",
        lambda draw: through(sound(draw, ranks=True), GIGABIT, last),
    ),
    Planted(
        "saturated link",
        "every count on several machines reduces through its own 1 GbE",
        lambda draw: through(changed(sound(draw, ranks=True), lambda row: {"nodes": row["gpus"]}), GIGABIT),
    ),
    Planted(
        "baseline on another node",
        "the baseline ran on a node that no other run used",
        lambda draw: changed(sound(draw), lambda row: {"host": "n9" if first(row) else "n0"}),
    ),
    Planted(
        "unlike GPUs",
        "rank 0 of the largest run has another GPU than the others",
        lambda draw: devices(sound(draw, ranks=True), lambda row: "P4" if last(row) and row["rank"] else "T4"),
    ),
    Planted(
        "unlike GPUs",
        "8 GPUs ran on other GPUs than the rest",
        lambda draw: devices(sound(draw), lambda row: "A40" if last(row) else "T4"),
    ),
    Planted("runs apart", "one repeat on GPUs with twice the memory", another_machine),
    Planted(
        "conditions not stated",
        "the precision of 8 GPUs is not stated",
        lambda draw: without(sound(draw), "precision", last),
    ),
    Planted(
        "disturbed runs",
        "a record flags another process on its GPU",
        lambda draw: of_runs(sound(draw), lambda run: run.gpus == 4, flags=("other processes on the GPU",)),
    ),
    Planted(
        "more ranks than cores",
        "8 ranks on fewer cores",
        lambda draw: of_runs(sound(draw), lambda run: run.gpus == 8, oversubscribed=True),
    ),
    Planted("throughput is not learning", "accuracy of an epoch falls with GPUs ** 0.7", slow_learning),
)
"""Every rule of docs/results/audit.md, each with its flaw."""
