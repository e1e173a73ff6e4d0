"""Lines of MLPerf's logging form (`:::MLLOG {...}`) as rows of a tidy table, and runs as such lines. Pure.

An epoch lasts from its `epoch_start` to its `epoch_stop`, a block of several from `block_start` to `block_stop`;
`eval_accuracy` is test accuracy. Keys and form: github.com/mlcommons/logging, mllog/constants.py.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic_core import from_json

from vit_sweep.runs.run import Run
from vit_sweep.runs.tidy.columns import LogError

TOKEN = ":::MLLOG "
NOTE = "MLPerf's log: epochs from their start to their stop, eval_accuracy as test accuracy"
_COLUMNS = {
    "global_batch_size": "batch",
    "gradient_accumulation_steps": "accum",
    "train_samples": "images",
    "seed": "seed",
    "opt_name": "optimizer",
    "opt_base_learning_rate": "learning_rate",
    "submission_benchmark": "model",
    "submission_platform": "partition",
    "number_of_nodes": "nodes",
}
"""A key of a log, and the column that it is."""


def is_mlperf_log(text: str) -> bool:
    """Whether a text has lines of MLPerf."""
    return TOKEN in text


def rows_of_mlperf(text: str, constants: Mapping[str, str]) -> list[dict[str, str]]:
    """One row per epoch or block. `constants`: columns that the user states.

    Raises `LogError` where no epoch has a start and a stop, or nothing says how many GPUs there were.
    """
    settings: dict[str, Any] = {}
    started: dict[int, float] = {}
    rows: dict[int, dict[str, str]] = {}
    accuracy: dict[int, float] = {}
    for key, value, metadata, time_ms in _events(text):
        first = metadata.get("epoch_num", metadata.get("first_epoch_num"))
        match key:
            case "epoch_start" | "block_start" if first is not None:
                started[int(first)] = time_ms
            case "epoch_stop" | "block_stop" if first is not None and int(first) in started:
                last = int(first) + int(metadata.get("epoch_count", 1)) - 1
                seconds = (time_ms - started[int(first)]) / 1000 / (last - int(first) + 1)
                epoch = f"{int(first)}" if last == int(first) else f"{int(first)}-{last}"
                rows.setdefault(last, {"epoch": epoch, "epoch_time_s": f"{seconds:.9g}"})
            case "eval_accuracy" if first is not None and isinstance(value, int | float):
                accuracy[int(first)] = float(value)
            case _:
                settings.setdefault(key, value)
    if not rows:
        raise LogError("epochs with a start and a stop", "")
    shared = {column: f"{settings[key]}" for key, column in _COLUMNS.items() if settings.get(key) is not None}
    if "batch" in shared:
        shared |= {"batch_per": "global", "accum": shared.get("accum", "1")}
    nodes, gpus_per_node = settings.get("number_of_nodes"), settings.get("accelerators_per_node")
    gpus = (
        constants.get("gpus")
        or settings.get("number_of_ranks")
        or (int(nodes) * int(gpus_per_node) if nodes and gpus_per_node else None)
    )
    if gpus is None:
        raise LogError("its GPUs", "gpus=8")
    accuracies = {last: {"test_accuracy": f"{value:.9g}"} for last, value in accuracy.items() if 0 <= value <= 1}
    return [shared | {"gpus": str(gpus)} | row | accuracies.get(last, {}) for last, row in sorted(rows.items())]


def _events(text: str) -> Iterator[tuple[str, Any, Mapping[str, Any], float]]:
    """Key, value, metadata and milliseconds of each line; a line that was cut off is passed over."""
    for line in text.splitlines():
        _, mark, body = line.partition(TOKEN)
        try:
            entry = from_json(body) if mark else None
        except ValueError:
            continue
        if isinstance(entry, dict) and {"key", "time_ms"} <= entry.keys():
            yield str(entry["key"]), entry.get("value"), entry.get("metadata") or {}, float(entry["time_ms"])


def mlperf_log(run: Run) -> str:
    """A run with a time as a log: what is known of it, its epochs from second 0 on, its test accuracies.

    Raises `ValueError` for a run without any epoch.
    """
    if not run.epoch_all_s:
        raise ValueError(f"{run.run_id} has no epoch")
    settings: dict[str, Any] = {
        "submission_benchmark": run.condition("model") or None,
        "submission_platform": run.condition("partition") or None,
        "seed": run.seed,
        "global_batch_size": run.global_batch,
        "gradient_accumulation_steps": run.accum,
        "train_samples": run.work,
        "opt_name": run.condition("optimizer") or None,
        "number_of_ranks": run.gpus,
        "number_of_nodes": run.nodes,
    }
    lines = [_line(0, "POINT_IN_TIME", key, value) for key, value in settings.items() if value is not None]
    lines.append(_line(0, "INTERVAL_START", "run_start", None))
    end = 0.0
    for epoch, seconds in enumerate(run.epoch_all_s, start=1):
        lines.append(_line(end, "INTERVAL_START", "epoch_start", None, epoch_num=epoch))
        end += 1000 * seconds
        lines.append(_line(end, "INTERVAL_END", "epoch_stop", None, epoch_num=epoch))
        accuracy = run.test_accuracy[epoch - 1] if epoch <= len(run.test_accuracy) else None
        if accuracy is not None:
            lines.append(_line(end, "POINT_IN_TIME", "eval_accuracy", accuracy, epoch_num=epoch))
    lines.append(_line(end, "INTERVAL_END", "run_stop", None, status="success"))
    return "".join(lines)


def _line(time_ms: float, event: str, key: str, value: Any, **metadata: Any) -> str:
    entry = {
        "namespace": "",
        "time_ms": round(time_ms, 3),
        "event_type": event,
        "key": key,
        "value": value,
        "metadata": {"file": "vit_sweep", "lineno": 0} | metadata,
    }
    return f"{TOKEN}{json.dumps(entry)}\n"
