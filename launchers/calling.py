"""How a user calls us, and so how a message spells the next step. An edge: reads this process's name."""

import sys
from pathlib import Path

SCRIPT = "vit_sweep"
"""The console script: what documentation shows, and what a file says that outlives the command."""


def called() -> str:
    """`vit_sweep`, or `python -m vit_sweep` in a process that was started so: for commands that somebody copies."""
    started = Path(sys.argv[0]).parts[-2:] if sys.argv else ()
    return f"python -m {SCRIPT}" if started == (SCRIPT, "__main__.py") else SCRIPT
