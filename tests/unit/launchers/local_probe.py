"""A rank that trains nothing: it notes when it ran and on which cores."""

import json
import os
import sys
import time
from pathlib import Path


def main(arguments):
    begun = time.monotonic()
    while time.monotonic() < begun + 0.15:  # long enough for neighbours to overlap, if they may
        pass
    index, rank = os.environ["VIT_SWEEP_TASK_INDEX"], os.environ["RANK"]
    note = {"begun": begun, "ended": time.monotonic(), "cores": sorted(os.sched_getaffinity(0)),
            "world": int(os.environ["WORLD_SIZE"])}  # fmt: skip
    Path(arguments[0], f"note-{index}-{rank}.json").write_text(json.dumps(note))
    if index == os.environ.get("FAIL_INDEX"):
        sys.exit(3)
    return 0
