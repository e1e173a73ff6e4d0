"""Predicted against allocated memory of one GPU, for models, number formats, engines, optimizers and kernels.

    python benchmarks/trainer/gpu_memory.py [--workers 4] [--json FILE]

Every shape is a process of its own: it builds the engine that a job would, trains four steps on made-up pictures and
says what torch's allocator held at most. `used` is what the plan predicts: reserved memory and the CUDA context, which
lies outside of torch's. The context is measured too, alone, before and after a first collective of NCCL. Without a GPU
nothing is measured, and a sentence says so.
"""

import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.distributed as dist

from benchmarks.provenance import options, report
from benchmarks.trainer.engines import ENGINES as ENGINES_OF_ALL
from benchmarks.trainer.one_rank import one_rank, trainer_of
from benchmarks.trainer.step_variants import MODELS
from tests.unit import builders
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.choices import Attention, Offload, OptimizerKind, Precision
from vit_sweep.plan.predict import memory
from vit_sweep.plan.specs import EngineSpec, ModelSpec

STEPS = 4
B16 = MODELS["vit_b_16"]
L16 = ModelSpec(name="vit_l_16", image_size=224, patch_size=16, layers=24, heads=16, width=1024, mlp_width=4096)
H14 = ModelSpec(name="vit_h_14", image_size=224, patch_size=14, layers=32, heads=16, width=1280, mlp_width=5120)
S16 = ModelSpec(name="vit_s_16", image_size=224, patch_size=16, layers=12, heads=6, width=384, mlp_width=1536)
ENGINES = ENGINES_OF_ALL | {
    "megatron_whole": EngineSpec(name="megatron", zero_stage=None, kind="megatron", distributed_optimizer=False),
}
OFFLOADED = replace(ENGINES["zero2"], offload_optimizer=Offload.CPU)


def shapes() -> dict[str, Cell]:
    """By name; each differs from a ViT-B/16 at 224 px, 64 images of bf16, ZeRO 0, AdamW in what its name says."""
    rows: dict[str, dict[str, Any]] = {}
    for precision in Precision:
        rows[f"{precision.value}"] = {"precision": precision}
    rows |= {
        "bf16, 16 images": {"micro_batch": 16},
        "bf16, 256 images": {"micro_batch": 256},
        "fp32, 16 images": {"precision": Precision.FP32, "micro_batch": 16},
        "S/16": {"model": S16},
        "L/16": {"model": L16},
        "H/14": {"model": H14, "micro_batch": 32},
        "H/14, checkpointing": {"model": H14, "micro_batch": 32, "activation_checkpointing": True},
        "checkpointing": {"activation_checkpointing": True},
        "fp32, checkpointing": {"precision": Precision.FP32, "activation_checkpointing": True},
        "accum 4": {"accum": 4},
        "compile": {"compile": True},
        "fp32, compile": {"precision": Precision.FP32, "compile": True},
        "384 px": {"model": replace(B16, image_size=384)},
        "1024 px, 4 images": {"model": replace(B16, image_size=1024), "micro_batch": 4},
    }
    for attention in (Attention.MATH, Attention.FLASH, Attention.EFFICIENT):
        rows[f"attention={attention.value}"] = {"attention": attention}
    rows["fp32, attention=math"] = {"precision": Precision.FP32, "attention": Attention.MATH}
    for name, engine in ENGINES.items():
        for precision in (Precision.FP32, Precision.BF16, Precision.BF16_AMP):
            if precision is Precision.BF16 and engine.zero_stage is None:
                continue  # refused: no fp32 copy
            rows.setdefault(f"{name}, {precision.value}", {"engine": engine, "precision": precision})
    rows["fsdp2, bf16_amp, accum 4"] = {"engine": ENGINES["fsdp2"], "precision": Precision.BF16_AMP, "accum": 4}
    for precision in (Precision.FP32, Precision.BF16):
        rows[f"zero2 offloaded, {precision.value}"] = {"engine": OFFLOADED, "precision": precision}
    for kind in OptimizerKind:
        optimizer = replace(builders.OPTIMIZER, name=kind.value, kind=kind, learning_rate=1e-4)
        rows[f"{kind.value}, L/16, fp32"] = {
            "optimizer": optimizer,
            "model": L16,
            "precision": Precision.FP32,
            "micro_batch": 16,
        }
    return {name: _cell(**changes) for name, changes in rows.items()}


def _cell(**changes: Any) -> Cell:
    fields: dict[str, Any] = {
        "micro_batch": 64,
        "precision": Precision.BF16,
        "epochs": 1,
        "warmup_steps": 0,
        "model": B16,
        "optimizer": replace(builders.OPTIMIZER, learning_rate=1e-4),
        "gpu_model": "a GPU",
    } | changes
    images = STEPS * fields.get("accum", 1) * fields["micro_batch"]
    data = replace(builders.DATA, train_images=images, test_images=fields["micro_batch"], classes=100)
    return builders.cell(**fields, train_images=images, data=data)


def measured(cell: Cell) -> dict[str, float]:
    """MiB that torch allocated and reserved at most while the cell trained; in a process of its own."""
    from vit_sweep.job.train.engines.build import engine_of
    from vit_sweep.job.train.images.data import load
    from vit_sweep.job.train.images.pipeline import pipeline_of
    from vit_sweep.job.train.model import DTYPES

    device = torch.device("cuda", 0)
    with one_rank(cuda=True):
        train, test = load(cell.data, Path())
        engine = engine_of(cell)
        pipeline = pipeline_of(cell, train=train, device=device, dtype=DTYPES[cell.precision], rank=0)
        trainer_of(cell, engine, pipeline, test).epoch()
        torch.cuda.synchronize()
        return {
            "allocated_mib": torch.cuda.max_memory_allocated() / 2**20,
            "reserved_mib": torch.cuda.max_memory_reserved() / 2**20,
        }


def context(*_: object) -> dict[str, float]:
    """MiB that a process takes of its GPU beside torch's allocator: at first, after a product, after an all-reduce."""

    def context_mib() -> float:
        torch.cuda.synchronize()
        free, total = torch.cuda.mem_get_info()
        return float((total - free - torch.cuda.memory_reserved()) / 2**20)

    with one_rank(cuda=True):
        torch.zeros(1, device="cuda")
        sizes = {"context_mib": context_mib()}
        square = torch.ones(1024, 1024, device="cuda")
        square @ square
        sizes["after_a_product_mib"] = context_mib()
        dist.all_reduce(square)
        return sizes | {"after_a_collective_mib": context_mib()}


def row(cell: Cell, sizes: dict[str, float]) -> dict[str, Any]:
    """What was predicted beside what was measured; `error` = used / predicted - 1."""
    estimate = memory.predict(cell)
    assert estimate is not None
    predicted = 1024 * estimate.total_gib
    error = memory.memory_error(sizes["reserved_mib"], predicted)
    return {key: round(size) for key, size in sizes.items()} | {
        "used_mib": round(memory.used_mib(sizes["reserved_mib"])),
        "predicted_mib": round(predicted),
        "parts_gib": {
            name: round(getattr(estimate, f"{name}_gib"), 3)
            for name in ("states", "temporary", "activations", "data", "context")
        },
        "error": None if error is None else round(error, 4),
    }


def run(work: Callable[..., dict[str, float]], cells: dict[str, Cell], workers: int) -> dict[str, dict[str, Any]]:
    """What each came to, or the first line of why not; one that dies takes its own process only."""
    results: dict[str, dict[str, Any]] = {}
    pools = [ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) for _ in range(workers)]
    names = list(cells)
    futures = {pools[i % workers].submit(work, cells[name]): name for i, name in enumerate(names)}
    for future in as_completed(futures):
        name = futures[future]
        try:
            results[name] = row(cells[name], future.result())
        except Exception as error:  # whatever a library says of one shape, the others go on
            results[name] = {"reason": f"{type(error).__name__}: {str(error).strip()}"[:600]}
        print(f"{name:<28}{row_text(results[name])}", flush=True)
    for pool in pools:
        pool.shutdown()
    return {name: results[name] for name in names}


def row_text(result: dict[str, Any]) -> str:
    """One line of a row."""
    if "reason" in result:
        return f"not measured: {result['reason'].splitlines()[0]}"
    return f"{result['used_mib']:>8,} MiB, predicted {result['predicted_mib']:>8,} ({result['error']:+.1%})"


def main() -> int:
    """Measure, print, and write JSON if asked."""
    parser = options(__doc__)
    parser.add_argument("--workers", type=int, default=4, help="shapes at a time, each in a process of its own")
    parser.add_argument("--only", default="", help="shapes whose name holds this")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU here, so nothing was measured")
        return 0
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        context_bytes = pool.submit(context).result()
    print(context_bytes)
    cells = {name: cell for name, cell in shapes().items() if args.only in name}
    rows = run(measured, cells, args.workers)
    errors = [found["error"] for found in rows.values() if found.get("error") is not None]
    summary = {
        "shapes": len(rows),
        "measured": len(errors),
        "median_error": round(median(errors), 4) if errors else None,
        "within_10_percent": sum(abs(error) <= 0.1 for error in errors),
        "more_than_predicted_by_10_percent": sum(error > 0.1 for error in errors),
    }
    print(summary)
    head = {"schema_version": 1, "device": torch.cuda.get_device_name(), "torch": torch.__version__}
    report(head | {"context": context_bytes, "summary": summary, "rows": rows}, args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
