"""Hugging Face datasets on disk before they are packed: what `save_to_disk` wrote, or Parquet files.

The tables are read by datasets and pyarrow, the labels' column first and alone; an image is then read by the number of
its row. Nothing is copied into a cache.
"""

import io
import json
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import ClassLabel, Dataset, Features, Image, List
from numpy.typing import NDArray
from pyarrow import parquet

from launchers.atomic import read
from launchers.errors import UserError
from launchers.text import plural, some
from vit_sweep.data.prepare.decode import picture_of
from vit_sweep.data.prepare.labels import (
    Labelled,
    WrongFile,
    WrongLabels,
    array_of,
    looked_at,
    require_labels,
    sources_of,
)
from vit_sweep.data.prepare.places import TEST_WORDS, places
from vit_sweep.data.prepare.source import Picture, Sample, Sources, Tell, planes_of
from vit_sweep.data.request import NAMED, TABLE_SUFFIXES, Pixels, Request

_OPEN_FILES = 32
_STREAM_END = b"\xff\xff\xff\xff\0\0\0\0"
"""How Arrow's stream format ends: a message of no length."""


def requested(request: Request, tell: Tell) -> Sources:
    """The images that `data.path` names, split where nobody has put some apart; raises `UserError`."""
    files = {
        split: looked_at(request, paths, partial(_looked_at, request), tell)
        for split, paths in zip(("train", "test"), _table_files(request), strict=True)
    }
    read_one = _Reading(request.images, request.channels, request.pixels)
    return sources_of(request, files, read_one, tell, group=None)


# --- files -----------------------------------------------------------------------------------------------------


def _table_files(request: Request) -> tuple[list[Path], list[Path]]:
    """Files to train with, and to test with; none of these where nobody has put some apart."""
    path = Path(request.path)
    if (path / "dataset_dict.json").is_file():
        names = list(_json_of(request, path / "dataset_dict.json").get("splits", []))
        test = next((word for word in TEST_WORDS if word in names), None)
        if "train" not in names:
            raise UserError(
                f"data={request.name}: {path} has the splits {some(names, NAMED)}, and none is called train"
            )
        return _saved(request, path / "train"), _saved(request, path / test) if test else []
    if (path / "state.json").is_file():
        return _saved(request, path), []
    data_folder = path / "data"
    if data_folder.is_dir() and not any(entry.suffix in TABLE_SUFFIXES for entry in path.iterdir()):
        path = data_folder  # as the Hub lays out a repository
    return places(request, TABLE_SUFFIXES, "a Parquet or Arrow file", path)


def _saved(request: Request, folder: Path) -> list[Path]:
    """The files that `Dataset.save_to_disk` lists in a folder."""
    listed = _json_of(request, folder / "state.json").get("_data_files", [])
    return [folder / str(file["filename"]) for file in listed]


def _json_of(request: Request, path: Path) -> dict[str, Any]:
    try:
        parsed = json.loads(read(path))
    except (OSError, ValueError) as error:
        raise UserError(
            f"data={request.name}: {path} cannot be read ({' '.join(str(error).split())}); save the data set anew with "
            "datasets' save_to_disk"
        ) from None
    if not isinstance(parsed, dict):
        raise UserError(f"data={request.name}: {path} is not what datasets' save_to_disk writes; save it anew")
    return parsed


# --- labels ----------------------------------------------------------------------------------------------------


def _looked_at(request: Request, path: Path) -> Labelled:
    """Types and labels of a file, without any image."""
    try:
        features, labels = _column_of_labels(path, request)
    except (OSError, pa.ArrowException) as error:
        raise WrongFile(" ".join(str(error).split())) from None
    if not len(labels):
        raise WrongFile("it has no rows")
    if labels.null_count:
        raise WrongLabels(f"column {request.labels}: {plural(labels.null_count, 'row has|rows have')} no value")
    label_values, names = _labels(labels, features[request.labels], request.labels)
    require_labels(label_values, len(labels), f"column {request.labels}", f"column {request.images}")
    return Labelled(
        path=path,
        images=len(labels),
        labels=label_values,
        names=names,
        pixels=_pixels(features[request.images], request),
    )


def _column_of_labels(path: Path, request: Request) -> tuple[Features, pa.ChunkedArray]:
    if path.suffix == ".parquet":
        with parquet.ParquetFile(path, memory_map=True) as file:
            features = Features.from_arrow_schema(file.schema_arrow)
            _require_columns(request, features)
            return features, file.read(columns=[request.labels]).column(request.labels)
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(_STREAM_END)))
        if file.read() != _STREAM_END:
            raise WrongFile("it is cut short: the end of Arrow's stream is missing")
    table = Dataset.from_file(str(path))
    _require_columns(request, table.features)
    return table.features, table.data.column(request.labels)


def _require_columns(request: Request, features: Features) -> None:
    for key, name in (("images", request.images), ("labels", request.labels)):
        if name not in features:
            problem = f"no column {name}; it has {some(features, NAMED)}"
            raise WrongLabels(problem) if key == "labels" else WrongFile(f"{problem}: name one with data.{key}")


def _labels(column: pa.ChunkedArray, feature: Any, name: str) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Labels, and the names of the classes where the table says them."""
    if isinstance(feature, ClassLabel):
        return column.to_numpy(), tuple(feature.names)
    if isinstance(feature, List) and isinstance(feature.feature, ClassLabel):
        names = tuple(feature.feature.names)
        multi_hot = np.zeros((len(column), len(names)), dtype=np.int64)
        for row, numbers in enumerate(column.to_pylist()):
            for number in numbers:
                if not 0 <= number < len(names):
                    raise WrongLabels(f"{name}[{row}] has the label {number}, and they go from 0 to {len(names) - 1}")
                multi_hot[row, number] = 1
        return multi_hot, names
    return array_of(column.to_pylist(), f"column {name}"), ()


def _pixels(feature: Any, request: Request) -> Pixels:
    """Of encoded images as asked; arrays keep their numbers."""
    encoded = isinstance(feature, Image) or getattr(feature, "dtype", "") in ("binary", "large_binary", "struct")
    return request.pixels if encoded or "uint8" in str(feature) else Pixels.F32


# --- images ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Reading:
    """Reads the image of a row."""

    column: str
    channels: int | None
    pixels: Pixels

    def __call__(self, sample: Sample) -> Picture:
        value = _cell(sample.path, self.column, sample.place or 0)
        name = ""
        if isinstance(value, dict) and "bytes" in value:
            name, value = str(value.get("path") or ""), value["bytes"]
            if value is None:
                raise ValueError(f"the row has no bytes{f', only the path {name}' if name else ''}")
        if isinstance(value, bytes):
            return picture_of(io.BytesIO(value), name, channels=self.channels, pixels=self.pixels)
        if value is None:
            raise ValueError("the row has no image")
        return planes_of(np.asarray(value))


def _cell(path: str, column: str, row: int) -> Any:
    if not path.endswith(".parquet"):
        return _arrow(path).column(column)[row].as_py()
    firsts = _firsts(path)
    group = bisect_right(firsts, row) - 1
    return _row_group(path, group, column)[row - firsts[group]].as_py()


@lru_cache(maxsize=_OPEN_FILES)
def _arrow(path: str) -> Any:
    return Dataset.from_file(path).data  # mapped into memory, not read


@lru_cache(maxsize=_OPEN_FILES)
def _parquet(path: str) -> parquet.ParquetFile:
    return parquet.ParquetFile(path, memory_map=True)


@lru_cache(maxsize=_OPEN_FILES)
def _firsts(path: str) -> list[int]:
    """The first row of each group of rows."""
    metadata = _parquet(path).metadata
    return list(accumulate((metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)), initial=0))[:-1]


@lru_cache(maxsize=1)
def _row_group(path: str, group: int, column: str) -> pa.ChunkedArray:
    """What is compressed together is read together: images are asked for in the order of their rows."""
    return _parquet(path).read_row_group(group, columns=[column], use_threads=False).column(column)
