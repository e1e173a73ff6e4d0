"""Runs and series with overridable keywords, for the tests of the analysis."""

from vit_sweep.analysis.series.grouping import group
from vit_sweep.outcome.result import Status
from vit_sweep.plan.cell import Series as Membership
from vit_sweep.plan.choices import BatchPer, Scaling
from vit_sweep.runs.run import Origin, Run

CONDITIONS = {
    "model": "vit_b_16",
    "data": "cifar100",
    "precision": "fp32",
    "engine": "zero0",
    "optimizer": "adamw",
    "partition": "lab",
    "gpu_model": "Tesla T4",
    "epochs": "3",
    "data.pipeline": "device",
}
IMAGES = 6400


def run(gpus=1, epoch_s=(10.0, 10.0), *, scaling=Scaling.STRONG, placement="packed", conditions=None, **changes):
    """A finished run: micro batch 16 over 6,400 images (strong) or 6,400 images a GPU (weak)."""
    work = IMAGES if scaling is Scaling.STRONG else IMAGES * gpus
    micro, accum = changes.get("micro_batch", 16), changes.get("accum", 1)
    step = micro * accum * gpus
    given = {
        "run_id": f"g{gpus}-s{changes.get('seed', 0)}",
        "origin": Origin.STUDY,
        "gpus": gpus,
        "nodes": 1,
        "node_gpus": 1024,
        "curves": (Membership(scaling=scaling, batch_per=BatchPer.GPU, placement=placement),),
        "micro_batch": 16,
        "accum": 1,
        "work": work,
        "images": -(-work // step) * step,
        "conditions": tuple(sorted((CONDITIONS | (conditions or {})).items())),
        "seed": 0,
        "epoch_s": tuple(epoch_s),
        "first_epoch_s": 2 * max(epoch_s) if epoch_s else None,
        "epochs_requested": len(epoch_s) + 1,
        "epochs_done": len(epoch_s) + 1,
        "devices": ("Tesla T4",) * gpus,
        "hosts": ("node0",),
    }
    return Run(**(given | changes))


def without_time(gpus=1, status="failed", **changes):
    """A run that gave nothing."""
    return run(gpus, (), status=Status(status), **({"epochs_done": 0} | changes))


def series_from(times, *, scaling=Scaling.STRONG, **changes):
    """One series: epoch seconds by GPU count, or a list of runs' epoch seconds where there are repeats."""
    runs = []
    for gpus, epochs in times.items():
        many = epochs if isinstance(epochs[0], (list, tuple)) else [epochs]
        runs += [run(gpus, epochs, scaling=scaling, seed=seed, **changes) for seed, epochs in enumerate(many)]
    (series,) = group(runs, scaling)
    return series
