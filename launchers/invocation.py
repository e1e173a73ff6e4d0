"""How a user calls us, and so how a message spells the next step. An edge: reads this process's name."""

import sys

SCRIPT = "vit_sweep"
"""The console script: what documentation shows, and what a file says that outlives the command."""


def called() -> str:
    """`vit_sweep`, or `python -m vit_sweep` in a process that was started so: for commands that somebody copies."""
    started = sys.argv[0] if sys.argv else ""
    return f"python -m {SCRIPT}" if f"/{started}".endswith(f"/{SCRIPT}/__main__.py") else SCRIPT
