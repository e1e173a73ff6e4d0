"""What is looked at of models before they are planned: those that others build, and files of weights. An edge.

The former are counted, once, by a process that may import torch and run the model's code; the planner does neither. The
answer is kept in the user's cache folder, by what was asked, the library's version, and the source of a module of
somebody's own.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from launchers.atomic import make_folder, read, reading, user_folder, write
from launchers.batch import importing_from
from launchers.checked import parse_json, to_json, to_plain
from launchers.errors import UserError
from launchers.process.environment import clean_environment
from vit_sweep.plan.models import LIBRARIES, REFUSED, CountRequest, Shape, digest, weights_mismatch
from vit_sweep.plan.point import Point
from vit_sweep.plan.specs import ModelCounts, ModelSpec

_PROGRAM = "vit_sweep.job.train.models.counting"
_LIMIT_S = 300
_MOST_SOURCES = 2000
_GIVE_IT = "or give what is known: 'model.counts={parameters: 86567656, flop_per_image: 1.05e11}'"


def with_counts(points: Iterable[Point], say: Callable[[str], None]) -> list[Point]:
    """The points, their models counted where others build them; raises `UserError` where that cannot be done."""
    known: dict[tuple[ModelSpec, int], ModelCounts] = {}
    counted_points = []
    for point in points:
        if point.model.target is not None and point.model.counts is None:
            spec, classes = replace(point.model, text=None), point.model.outputs(point.data, point.task)
            if (spec, classes) not in known:
                known[spec, classes] = _counts(spec, classes, say)
            point = replace(point, model=replace(point.model, counts=known[spec, classes]))  # noqa: PLW2901
        counted_points.append(point)
    return counted_points


def _counts(spec: ModelSpec, classes: int, say: Callable[[str], None]) -> ModelCounts:
    request = CountRequest(model=spec, classes=classes)
    cached = _cache_path(request)
    if cached is not None:
        with suppress(UserError, OSError):
            return parse_json(ModelCounts, read(cached), source=str(cached))
    say(f"model {spec.name} of {spec.target}: its parameters and operations are counted, once")
    counts = _count(request)
    if cached is not None:
        with suppress(UserError, OSError):
            make_folder(cached.parent)
            write(cached, to_json(counts))
    return counts


def _count(request: CountRequest) -> ModelCounts:
    """What the counting program says."""
    spec = request.model
    variables = importing_from(str(Path(__file__).parents[2]), clean_environment(os.environ))
    environment = variables | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", _PROGRAM]
    try:
        answer = subprocess.run(
            command,
            input=to_json(request),
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"model={spec.name}: it was not built and counted within {_LIMIT_S} s; {_GIVE_IT}") from None
    if answer.returncode == 0:
        return parse_json(ModelCounts, answer.stdout, source=f"counts of {spec.name}")
    words = answer.stderr.strip().splitlines()[-1:] or [f"exit code {answer.returncode}"]
    if answer.returncode == REFUSED:
        raise UserError(words[0])
    raise UserError(
        f"model={spec.name}: its parameters and operations are not known, since nothing could be counted here "
        f"({words[0]}); install vit_sweep[train] where you plan, {_GIVE_IT}"
    )


def _cache_path(request: CountRequest) -> Path | None:
    """Where the answer is kept; None where a module's source or a folder for it cannot be found."""
    target = str(request.model.target)
    source = _version_of(target) if target in LIBRARIES else _digest_of_source(target.partition(":")[0])
    with suppress(RuntimeError):  # a user without a home
        folder = user_folder("XDG_CACHE_HOME", ".cache")
        if source is None:
            return None
        content = json.dumps([to_plain(request), source, _version_of("torch")], sort_keys=True)
        return folder / "vit_sweep" / "models" / f"{hashlib.sha256(content.encode()).hexdigest()[:16]}.json"
    return None


def _version_of(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _digest_of_source(module: str) -> str | None:
    """Of all Python files of the module's package, which is not imported for it; None where it is not found."""
    top = module.partition(".")[0]
    for folder in map(Path, filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))):
        sources = sorted((folder / top).rglob("*.py")) or [path for path in [folder / f"{top}.py"] if path.is_file()]
        if sources:
            if len(sources) > _MOST_SOURCES:
                return None
            digest = hashlib.sha256()
            for path in sources:
                with suppress(OSError):
                    digest.update(read(path))
            return digest.hexdigest()
    return None


Known = tuple[dict[str, Shape], str]
"""Shapes by name, and the digest of the file."""


def with_init(points: Iterable[Point]) -> list[Point]:
    """The points, whose `model.init` fits and has its digest; raises `UserError` where one does not."""
    files: dict[str, Known] = {}
    checked_points = []
    for point in points:
        if point.model.init is not None:
            path = str(Path(point.model.init).expanduser().absolute())
            if path not in files:
                files[path] = _shapes_and_digest(path)
            shapes, digest = files[path]
            problem = weights_mismatch(point.model, shapes)
            if problem:
                raise UserError(problem)
            point = replace(point, model=replace(point.model, init=path, init_content=digest))  # noqa: PLW2901
        checked_points.append(point)
    return checked_points


def _shapes_and_digest(path: str) -> Known:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise UserError(
            f"model.init={path}: safetensors is not installed here: pip install 'vit_sweep[train]', or leave it out"
        ) from None
    try:
        with safe_open(path, framework="numpy") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
        with reading(Path(path)) as stream:
            return shapes, digest(stream)
    except OSError as error:
        raise UserError(
            f"model.init={path}: it cannot be read ({error.strerror or error}); give another file"
        ) from None
    except SafetensorError as error:
        raise UserError(f"model.init={path}: it is no whole safetensors file ({error}); give another file") from None
