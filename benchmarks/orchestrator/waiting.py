"""What a local queue costs while it waits: seconds of the processor, and how often it wakes, over a while.

    python benchmarks/orchestrator/waiting.py [--seconds 60] [--tasks 200] [--json FILE] [--markdown FILE]

Starts a real queue (`launchers.local.queue`) with tasks of four shapes, twice: `crowded`, where another process holds
every core of the machine, and `running`, where its own first task takes all of them and the others stand behind it.
Counted are the queue's own process, without its ranks, and its voluntary switches, as the kernel counts them.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psutil

from benchmarks.provenance import ROOT, Table, options, report
from launchers.batch import Batch, Shape, Task
from launchers.checked import to_json
from launchers.profile import Device, Scheduler
from launchers.queue.files import read_states
from launchers.queue.slots import Slots, slot_folder, slots_of
from tests.unit.builders import profile

MODULE = "tests.unit.launchers.queue.queue_probe"
SETTLE_S = 2.0
GOAL = 0.005
HERE = profile(
    name="here", scheduler=Scheduler.LOCAL, device=Device.CPU, gpus_per_node=64, cpus_per_gpu=1, exclusive=False
)


def batches(folder: Path, tasks: int) -> list[Path]:
    """Folders of four batches; every task goes on until it is told to end."""
    folders = []
    for number in range(4):
        batch = Batch(
            study="s",
            study_dir=str(folder / str(number)),
            profile=HERE,
            # The first one is the widest and so comes first.
            shape=Shape(nodes=1, gpus_per_node=64 if number == 0 else number, minutes=60),
            tasks=tuple(Task(name=f"c{i}", attempt=1) for i in range(tasks // 4)),
            module=MODULE,
        )
        folders.append(Path(batch.folder))
        folders[-1].mkdir(parents=True)
        (folders[-1] / "batch.json").write_text(to_json(batch))
        orders = ",".join(f'"{i}": "wait"' for i in range(tasks))
        (folders[-1] / "orders.json").write_text(f"{{{orders}}}")
    return folders


def wait_for(condition: Callable[[], bool]) -> None:
    """Until it is so."""
    while not condition():
        time.sleep(0.1)


def waiting(folder: Path, tasks: int, seconds: float, *, crowded: bool) -> dict[str, float]:
    """The share of a core and the wake-ups a minute of a queue that waits."""
    folder.mkdir()
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    folders = batches(folder, tasks)
    if crowded:
        names = slots_of(HERE)
        neighbour = Slots(names, slot_folder())
        assert neighbour.take(len(names), "study /a/neighbour (process 1) since today") is not None
    with ExitStack() as stack:
        log = stack.enter_context((folder / "queue.log").open("ab"))
        queue = subprocess.Popen(
            [sys.executable, "-m", "launchers.local.queue", *map(str, folders)],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=log,
        )
        stack.callback(queue.wait)
        stack.callback(queue.terminate)
        if crowded:
            wait_for(lambda: "waits for" in (folder / "queue.log").read_text())
        else:
            wait_for(lambda: any(status.hosts for status in read_states(folders[0]).values()))
        time.sleep(SETTLE_S)
        process = psutil.Process(queue.pid)
        times_before, switched = process.cpu_times(), process.num_ctx_switches().voluntary
        begun = time.monotonic()
        time.sleep(seconds)
        took, times_after = time.monotonic() - begun, process.cpu_times()
        cpu = times_after.user + times_after.system - times_before.user - times_before.system
        woken = process.num_ctx_switches().voluntary - switched
    return {"core": cpu / took, "wakes_per_minute": 60 * woken / took}


def main() -> None:
    """Measure and print."""
    words = options(__doc__)
    words.add_argument("--seconds", type=float, default=60)
    words.add_argument("--tasks", type=int, default=200)
    args = words.parse_args()
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("crowded", "running"):
            figures[name] = waiting(Path(folder) / name, args.tasks, args.seconds, crowded=name == "crowded")
    rows = [
        (name, f"{100 * figure['core']:.2f} %", f"{figure['wakes_per_minute']:.0f}", f"{100 * GOAL} % of a core")
        for name, figure in figures.items()
    ]
    head = ("a local queue that waits", "of a core", "wake-ups a minute", "goal")
    report({"tasks": args.tasks, "seconds": args.seconds} | figures, args, Table("Waiting", head, rows))


if __name__ == "__main__":
    main()
