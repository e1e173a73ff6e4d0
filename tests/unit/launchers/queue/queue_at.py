"""A queue whose clock stands until a test sets it: `queue_at.py MODULE FOLDER...`, the time in FOLDER/clock.

So it does not matter how long a task takes to come up before it is warned of its time limit, or ended by it.
"""

import importlib
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from launchers.queue import loop


def set_clock(folder, seconds):
    """Let it be so late, counted from the start of the queue of the batch in `folder`."""
    (folder / "clock.new").write_text(str(seconds))
    (folder / "clock.new").rename(folder / "clock")


def main(module, folders):
    """Run the queue."""
    clock = Path(folders[0], "clock")
    loop.time = SimpleNamespace(  # type: ignore[attr-defined, assignment]
        monotonic=lambda: float(clock.read_text()) if clock.exists() else 0.0, sleep=time.sleep
    )
    return importlib.import_module(module).main(folders)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
