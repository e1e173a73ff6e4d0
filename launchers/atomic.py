"""Writing files so that nothing is ever half there. An edge."""

import os
from pathlib import Path


def write(path: Path, text: str) -> None:
    """Write aside and rename, so that a reader sees the old file or the new one, never a part."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """The same with bytes."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_if_new(path: Path, text: str) -> None:
    """Leave a file alone that already says the same."""
    if not path.exists() or path.read_text() != text:
        write(path, text)


def write_first(path: Path, text: str) -> bool:
    """Write a file that only the first writer may write; returns whether this one was the first."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    partial.write_text(text)
    try:
        os.link(partial, path)
        return True
    except FileExistsError:
        return False
    finally:
        partial.unlink(missing_ok=True)
