"""Which code this is and what is installed beside it: versions and commit, for `study.json`. An edge."""

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from launchers.errors import UserError
from vit_sweep import __version__
from vit_sweep.plan.choices import OptimizerKind, Task
from vit_sweep.plan.engine.kinds import OPTIONAL
from vit_sweep.plan.models import TIMM
from vit_sweep.plan.optimizers import OF_TIMM
from vit_sweep.plan.specs import ModelSpec

_EXTRAS = {
    "train": ("torch", "torchvision", "deepspeed", "sklearn"),
    "report": ("pandas", "scipy", "seaborn", "matplotlib", "jinja2", "pyarrow", "charset_normalizer", "openpyxl"),
    "capsule": ("rocrate",),
}
_PACKAGES = ("hydra-core", "omegaconf", "submitit", "torch", "torchvision", "deepspeed")


def versions() -> dict[str, str]:
    """Versions of python and of every package that shapes a study, as far as they are installed here."""
    python = {"python": platform.python_version(), "platform": sys.platform, "vit_sweep": __version__}
    return python | installed_versions(_PACKAGES)


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """Version of each of these distributions that is installed here."""
    installed = _noted()
    known_versions = {name: installed.get(_plain_name(name)) or _asked_for(name) for name in packages}
    return {name: version for name, version in known_versions.items() if version is not None}


def _noted() -> dict[str, str]:
    """Version by name of every distribution that has a folder `NAME-VERSION.dist-info` where Python imports from."""
    versions: dict[str, str] = {}
    for folder in sys.path:
        with suppress(OSError):
            for file in os.listdir(folder):  # noqa: PTH208 - a tenth of the time
                name, separator, version = file.removesuffix(".dist-info").partition("-")
                if separator and file.endswith(".dist-info"):
                    versions.setdefault(_plain_name(name), version)
    return versions


def _plain_name(distribution: str) -> str:
    return re.sub(r"[-_.]+", "_", distribution).lower()


def _asked_for(distribution: str) -> str | None:
    """Its version where it is noted in another way; that takes 6 ms to import."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def git_commit(folder: Path = Path(__file__).parent) -> str | None:
    """The commit of the checkout that `folder` lies in, by default that of this code; None outside one."""
    if shutil.which("git") is None:
        return None
    git = subprocess.run(
        ["git", "-C", str(folder), "rev-parse", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return git.stdout.strip() if git.returncode == 0 else None


def require_extra(extra: str) -> None:
    """Refuse, without importing anything, what could only fail later in a job or at the end of a wait."""
    absent = [name for name in _EXTRAS[extra] if importlib.util.find_spec(name) is None]
    if absent:
        raise UserError(f"{', '.join(absent)} not installed here: pip install 'vit_sweep[{extra}]'")


def absent_packages(engine: str) -> str:
    """What an engine of this kind needs, is not installed here, and how it is; empty where nothing is missing."""
    absent = [name for name in OPTIONAL.get(engine, ()) if _is_absent(name)]
    return f"{', '.join(absent)} not installed: pip install 'vit_sweep[engines]', or another engine" if absent else ""


def require_engines(kinds: Iterable[str]) -> None:
    """Refuse, without importing anything, engines that jobs under this python could not load."""
    for kind in sorted(set(kinds)):
        if absent := absent_packages(kind):
            raise UserError(f"engine={kind}: {absent}")


def require_optimizers(kinds: Iterable[OptimizerKind]) -> None:
    """Refuse, without importing anything, optimizers that jobs under this python could not load."""
    needed = sorted(set(kinds) & OF_TIMM)
    if needed and _is_absent("timm"):
        raise UserError(
            f"optimizer={','.join(needed)}: timm not installed here: pip install 'vit_sweep[timm]', or use "
            + " or ".join(kind for kind in OptimizerKind if kind not in OF_TIMM)
        )


def require_models(models: Iterable[ModelSpec]) -> None:
    """Refuse, without importing anything, models that jobs under this python could not build."""
    names = sorted({model.name for model in models if model.target == TIMM})
    if names and _is_absent("timm"):
        raise UserError(
            f"model=timm model.name={','.join(names)}: timm not installed here: pip install 'vit_sweep[timm]', or use "
            "a model that is built here"
        )


def require_tasks(tasks: Iterable[Task]) -> None:
    """Refuse, without importing anything, tasks that jobs under this python could not train."""
    if Task.CONTRASTIVE in tasks and _is_absent("transformers"):
        raise UserError("task=contrastive: transformers not installed here: pip install 'vit_sweep[contrastive]'")


def _is_absent(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is None
    except ModuleNotFoundError:  # of what it is a part of
        return True


def require_loggers(loggers: Iterable[str]) -> None:
    """Refuse, without importing anything, loggers that jobs under this python could not load."""
    absent = sorted(name for name in set(loggers) if importlib.util.find_spec(name) is None)
    if absent:
        raise UserError(
            f"logging=[{','.join(absent)}]: not installed here, so the jobs could not log to it: "
            "pip install 'vit_sweep[track]', or leave it out"
        )
