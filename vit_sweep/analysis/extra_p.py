"""Series in the JSON form of Extra-P, which fits performance models to them (Calotoiu and others, 2013). Pure.

{"parameters": ["p"], "measurements": {SERIES: {METRIC: [{"point": [p], "values": [one per run]}]}}}
"""

import json
from collections.abc import Iterable
from statistics import median

from launchers.text import grouped
from vit_sweep.analysis.series.series import ScalingSeries


def extra_p(series: Iterable[ScalingSeries]) -> str:
    """Every series with a time: the median epoch of each run, and its median step where that is known, by GPUs."""
    measurements: dict[str, dict[str, list[dict[str, list[float]]]]] = {}
    for curve in series:
        runs = [run for point in curve.timed for run in point.runs]
        times = grouped((run.gpus, median(run.epoch_s)) for run in runs)
        steps = grouped((run.gpus, run.step_ms / 1000) for run in runs if run.step_ms is not None)
        metrics = {"epoch_s": times, "step_s": steps}
        if times:
            measurements[_callpath(curve)] = {
                name: [{"point": [float(gpus)], "values": values} for gpus, values in sorted(by_gpus.items())]
                for name, by_gpus in metrics.items()
                if by_gpus
            }
    return json.dumps({"parameters": ["p"], "measurements": measurements}, indent=1) + "\n"


def _callpath(curve: ScalingSeries) -> str:
    """Extra-P reads `->` as a call."""
    return f"{curve.key.scaling.value} {curve.label}".replace("->", "-")
