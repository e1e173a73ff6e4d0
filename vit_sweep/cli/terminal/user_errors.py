"""What a person is told whose command cannot be done: one sentence on stderr, exit code 2. An edge.

Anything else is a bug and keeps its traceback.
"""

import errno
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from launchers.atomic import NO_ROOM, owner_of
from launchers.errors import ConsentError, UserError
from launchers.invocation import called
from launchers.text import visible

_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
_NOT_OURS = (errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ELOOP, errno.ENXIO)
"""A file for a folder, a folder for a file; a pipe, a device, a link that leads back to itself."""
_SHOWN = 100
"""Characters of a name that is too long."""


def reported(command: Callable[[], int], words: Sequence[str]) -> int:
    """Run `command`, which was given by `words`; a user's mistake is told in one sentence."""
    try:
        return command()
    except ConsentError as error:
        command_again = shlex.join([*words, "--trust"])
        _tell(f"error: {visible(str(error))} {called()} {command_again}")
        return 2
    except UserError as error:
        _tell(f"error: {visible(str(error))}")
        return 2
    except OSError as error:
        if error.errno in NO_ROOM:
            sentence = _no_room(error)
        elif error.errno == errno.ENAMETOOLONG:
            sentence = f"{str(error.filename)[:_SHOWN]}...: {error.strerror} – name a place with shorter names"
        elif error.errno in _NOT_ALLOWED and isinstance(error.filename, str):
            sentence = _not_allowed(error, words)
        elif error.errno in _NOT_OURS and error.filename:
            sentence = (
                f"{error.filename}: {error.strerror} – something else stands where vit_sweep keeps a file or a folder; "
                "put it away and give the same command again"
            )
        else:
            return _over_a_limit(error)
        _tell(f"error: {visible(sentence)}")
        return 2
    except RuntimeError as error:
        return _over_a_limit(error)
    except KeyboardInterrupt:
        _tell("interrupted before anything was submitted")
        return 130


def _over_a_limit(error: OSError | RuntimeError) -> int:
    """The exit code of a command that a limit of the system has ended; raises any other error."""
    from vit_sweep.outcome.failure import reached_limit

    limit = reached_limit(error)
    if limit is None:
        raise error
    _tell(f"error: {visible(f'{error} – {limit}')}")
    return 2


def _no_room(error: OSError) -> str:
    where = error.filename or "a file"
    return (
        f"{where} cannot be written: {error.strerror} – free some room and give the same command again; every file is "
        "written aside first, so what was there is whole"
    )


def _not_allowed(error: OSError, words: Sequence[str]) -> str:
    owner = owner_of(Path(error.filename).absolute())
    return (
        f"{error.filename}: {error.strerror} – it is in the hands of {owner}, who would type: {called()} "
        f"{shlex.join(words)}; what only reads (status, audit, compare, collect --output FOLDER, report --output "
        "FILE.html) works for everybody who may read the study"
    )


def _tell(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")
