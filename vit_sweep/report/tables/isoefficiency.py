"""The least images of a step at which GPU counts reach an efficiency, and between which batches. Pure."""

from collections.abc import Sequence

from launchers.text import plural
from vit_sweep.analysis.isoefficiency import Measured, Needed, Plane
from vit_sweep.report.tables.form.columns import COLUMNS, CONFIGURATION, bounded
from vit_sweep.report.tables.form.table import Cells, Table, table
from vit_sweep.report.tables.parts import Variants, estimate, runs_behind

ISOEFFICIENCY_COLUMNS = bounded(
    *CONFIGURATION,
    *("epochs", "work", "placement", "accum", "target_efficiency", "gpus", "nodes"),
    *("batch_needed", "n", "tflop_needed", "below_batch", "below_efficiency", "reached_batch", "reached_efficiency"),
    *("note", "flags", "seeds", "cell_id"),
)


def isoefficiency_table(planes: Sequence[Plane]) -> Table | None:
    """One row per target and GPU count of each plane; None without a plane."""
    variants = Variants(plane.key.conditions for plane in planes)
    rows = [_row(plane, needed, variants) for plane in planes for needed in plane.needed]
    notes = [
        "efficiency 1 is the time per image and GPU of batch "
        f"{plane.reference.images} on {plural(plane.reference.gpus, 'GPU')}"
        for plane in planes
    ]
    title = "Isoefficiency: the least images of a step at which GPUs reach an efficiency"
    return table("isoefficiency", title, ISOEFFICIENCY_COLUMNS, rows, known=COLUMNS, notes=notes)


def _row(plane: Plane, needed: Needed, variants: Variants) -> Cells:
    sides = [side for side in (needed.below, needed.reached) if side is not None]
    runs = [run for side in sides for run in side.runs]
    return variants.configuration(plane.key.conditions) | {
        "work": plane.key.work,
        "placement": plane.key.placement,
        "accum": plane.key.accum,
        "target_efficiency": needed.target,
        "gpus": needed.gpus,
        "nodes": needed.nodes,
        **estimate("batch_needed", needed.images),
        "n": min(len(side.runs) for side in sides),
        "tflop_needed": _tflop(needed),
        **_side("below", needed.below),
        **_side("reached", needed.reached),
        "note": needed.note or None,
        **runs_behind(runs, compared_with=plane.reference.runs),
    }


def _side(name: str, side: Measured | None) -> Cells:
    if side is None:
        return {}
    return {f"{name}_batch": side.images, f"{name}_efficiency": side.efficiency.value}


def _tflop(needed: Needed) -> float | None:
    """Operations of a step of that size; None where nobody counted those of an image."""
    if needed.images is None or needed.reached is None:
        return None
    run = needed.reached.runs[0]
    flop = run.step_flop
    return None if flop is None else needed.images.value * flop * run.gpus / needed.reached.images / 1e12
