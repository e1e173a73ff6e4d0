"""A rank, and a closing module, that do what `orders.json` in their batch's folder says; both note what happened.

Orders by task index: `done`, `linger` (for 0.3 s), `fail` (code 3), `fail_once`, `die` (SIGKILL), `wait` (until told
to end; code 1), `take` (the same, with SIGTERM blocked and taken by a thread).
"""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

NAMES = ("VIT_SWEEP_TASK_INDEX", "VIT_SWEEP_RESTART", "VIT_SWEEP_JOB_ID", "VIT_SWEEP_JOB_ENDS", "RANK")


def main(arguments):
    """As a rank: `main([folder])`; as a closing module: `main([folder, code])`."""
    folder = Path(arguments[0])
    place = {name: os.environ.get(name) for name in NAMES}
    index, restart = place["VIT_SWEEP_TASK_INDEX"], int(os.environ["VIT_SWEEP_RESTART"])
    orders = json.loads((folder / "orders.json").read_text())
    order = orders[index]
    if len(arguments) > 1:
        _note(folder, what="closing", code=int(arguments[1]), **place)
        return orders.get("closing", 0)
    heard = []

    def hear(number, _frame):
        heard.append(number)
        _note(folder, what=signal.Signals(number).name)

    if order == "take":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    for number in (signal.SIGTERM, signal.SIGUSR2) if order != "take" else ():
        signal.signal(number, hear)
    _note(folder, what="begun", pid=os.getpid(), **place)
    if order == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if order == "take":
        taker = threading.Thread(target=lambda: hear(signal.sigwait({signal.SIGTERM}), None))
        taker.start()
        taker.join()
    if order == "linger":
        time.sleep(0.3)
    while order == "wait" and signal.SIGTERM not in heard:
        time.sleep(0.02)
    _note(folder, what="ended", **place)
    return {"done": 0, "linger": 0, "wait": 1, "take": 1, "fail": 3, "fail_once": 0 if restart else 3}[order]


def notes(folder):
    """What ranks and closing modules noted, in time's order."""
    path = Path(folder, "notes.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _note(folder, **fields):
    # One write call of a line appended: notes of several processes do not mix.
    with (folder / "notes.jsonl").open("a") as file:
        file.write(json.dumps({"at": time.time(), **fields}) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
