"""What a user lets a study run: its profiles name an interpreter, shell lines, variables, an image, and its cells
perhaps a module with an engine of somebody's own. An edge.

It is remembered in the user's own state folder and never in the study, whose files may be of anybody: by the study's
place and by all that would run, so that neither a copy nor a later change of the plan runs with an earlier consent.
What a user's own sweep plans, it may run.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from launchers.atomic import own_folder, user_folder, write
from launchers.checked import to_plain
from launchers.errors import UserError
from launchers.invocation import called
from launchers.profile import PartitionProfile, masked_fields
from launchers.text import some
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.engine.kinds import KINDS
from vit_sweep.plan.models import LIBRARIES

Program = PartitionProfile | str
"""A profile, or the module of an engine or a model."""
_OF_THIS_PROCESS: set[str] = set()
"""Where no folder can be written, consent lasts as long as the command."""
_DESCRIPTIONS = frozenset(
    {"name", "nodes", "gpus_per_node", "allowed_gpus", "device", "gpu_model", "gpu_vendor", "gpu_memory_gib"}
    | {"peak_tflops", "refused_precisions", "network", "max_minutes", "default_minutes", "max_array_size", "max_submit"}
)
"""Keys that say what a partition is, not what is run there."""


def programs(profiles: Iterable[PartitionProfile], cells: Iterable[Cell]) -> list[Program]:
    """All that cells of these profiles run and that is not ours."""
    modules = {name for cell in cells for name in (cell.engine.kind, cell.model.target) if name is not None}
    return [*each_once(profiles), *sorted(modules - {*KINDS, *LIBRARIES})]


def remember(study: Path, required: Iterable[Program]) -> None:
    """Let this user's commands run these programs in the study."""
    for key in _keys(study, required):
        _OF_THIS_PROCESS.add(key)
        with suppress(OSError, RuntimeError):
            path = own_folder(_state_folder()) / key
            if not path.exists():
                write(path, f"{study.resolve()}\n")


def untrusted(study: Path, required: Iterable[Program]) -> list[Program]:
    """Those of the programs that this user has not let run in the study, each once."""
    by_key = _keys(study, required)
    return [program for key, program in by_key.items() if key not in _OF_THIS_PROCESS and not _is_remembered(key)]


def require(study: Path, required: Iterable[Program]) -> None:
    """Raise `UserError` where a program is not to be run by this user."""
    unknown = untrusted(study, required)
    if unknown:
        names = some(
            f"module {program}" if isinstance(program, str) else f"partition {program.name}" for program in unknown
        )
        raise UserError(
            f"study {study.name}: you have not let it run what its plan names for {names}: another user "
            f"planned it, or it was moved, or changed since; look at it and let it run by: "
            f"{called()} resume {study} --trust"
        )


def what_runs(program: Program) -> Iterator[str]:
    """Say, line by line, what a profile would run, or which module a rank would import; secrets are masked."""
    if isinstance(program, str):
        yield f"module {program}: Python, wherever jobs find it"
        return
    settings = masked_fields(program, defaults=False)
    yield f"partition {program.name}: Python {settings.pop('python', None) or 'of this command'}"
    for key, value in settings.items():
        if key in _DESCRIPTIONS:
            continue
        if isinstance(value, list):
            yield from (f"  {key}: {part}" for part in value)
        elif isinstance(value, dict):
            yield from (f"  {key}: {name}={part}" for name, part in value.items())
        else:
            yield f"  {key}: {value}"


def each_once(profiles: Iterable[PartitionProfile]) -> list[PartitionProfile]:
    """Without those that are the same object: the cells of a plan share a few, and to write one out takes time."""
    return list({id(profile): profile for profile in profiles}.values())


def _keys(study: Path, required: Iterable[Program]) -> dict[str, Program]:
    """What each program in this study is remembered by; a key that a later version adds changes nothing of it."""
    folder = str(study.resolve())
    texts = {
        json.dumps(
            [folder, "engine", program] if isinstance(program, str) else [folder, to_plain(program, defaults=False)],
            sort_keys=True,
        ): program
        for program in required
    }
    return {hashlib.sha256(text.encode()).hexdigest(): program for text, program in texts.items()}


def _is_remembered(key: str) -> bool:
    with suppress(OSError, RuntimeError):
        folder = _state_folder()
        return folder.is_dir() and (own_folder(folder) / key).is_file()
    return False


def _state_folder() -> Path:
    """Raises `RuntimeError` for a user without a home."""
    return user_folder("XDG_STATE_HOME", ".local/state") / "vit_sweep" / "trusted"
