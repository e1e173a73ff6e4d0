"""A rank that trains nothing: it notes when it ran and on which cores.

With MEET_IN=FOLDER a cell of one rank goes on only when two of them have begun, so that neighbours do meet.
"""

import json
import os
import sys
import time
from pathlib import Path


def main(arguments):
    begun = time.monotonic()
    index, rank, world = os.environ["VIT_SWEEP_TASK_INDEX"], os.environ["RANK"], int(os.environ["WORLD_SIZE"])
    if world == 1 and (place := os.environ.get("MEET_IN")):
        Path(place, str(os.getpid())).touch()
        while len(list(Path(place).iterdir())) < 2:
            time.sleep(0.01)
    while time.monotonic() < begun + 0.15:  # time for neighbours to overlap, if they may
        pass
    note = {"begun": begun, "ended": time.monotonic(), "cores": sorted(os.sched_getaffinity(0)), "world": world}
    Path(arguments[0], f"note-{index}-{rank}.json").write_text(json.dumps(note))
    if index == os.environ.get("FAIL_INDEX"):
        sys.exit(3)
    return 0
