"""Files that verbs write where a person says: refused before the work whose result they are to hold. An edge."""

import os
from pathlib import Path
from typing import Any

import typer

from launchers.atomic import make_folder, owner_of
from launchers.errors import UserError


def output_file(*names: str, help: str) -> Any:
    """An option that takes a file to write; the folder that it is to lie in is made."""
    return typer.Option(*names, metavar="FILE", help=help, callback=_writable)


def _writable(param: typer.CallbackParam, path: Path | None) -> Path | None:
    if path is None:
        return None
    given = f"{param.opts[0]} {path}"
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{given}: {'a folder' if path.is_dir() else 'no regular file'} stands there; name a file")
        make_folder(path.parent)
    except OSError as error:
        raise UserError(f"{given}: {error.filename}: {error.strerror}; name a file in a folder of yours") from None
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UserError(
            f"{given}: only {owner_of(path.parent)} may write in {path.parent}; name a file in another folder"
        )
    return path
