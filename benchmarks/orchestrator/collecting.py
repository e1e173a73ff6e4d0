"""How fast the records of a study become tables, against only reading and JSON-parsing the same bytes, in one run.

    python benchmarks/orchestrator/collecting.py [--records 10000] [--study FOLDER] [--against CHECKOUT] [--profile]
    python benchmarks/orchestrator/collecting.py --largest    # 100,000 records once, 6 GB of disk, for the memory

Makes a study of synthetic but complete records (on average 4 ranks, 3 epochs, tens of steps, phases, machines,
preflight and samples of every rank; 5 seeds of each configuration), with its real plan and journal. Then in every round
(a) every file that the collector reads is read and given to `json.loads`, twice (the A/A control); (b) `collect` with
nothing kept; (c) `collect` again. The verbs are processes of their own, imports included, without figures. Of processor
time the goal is at most 2 times (a). `--against` names a checkout of an earlier version, whose `collect` then stands
beside them. `--study` keeps the made study there and uses it again; `--profile` prints where reading and analysis in
this process spend their time.
"""

import json
import random
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.provenance import ROOT, Table, options, report
from benchmarks.rounds import AGAIN, Took, compared, ran, summary, timed, verb
from launchers.checked import to_plain
from tests.unit.builders import MODEL, OPTIMIZER, data, entry, point, profile, record
from vit_sweep.job.first_record import keep
from vit_sweep.plan.cell import Cell, JobOptions
from vit_sweep.plan.choices import Placement, Precision
from vit_sweep.plan.plan import make_plan
from vit_sweep.plan.point import Point
from vit_sweep.record.breakdown import Breakdown, Collective, Exposed, Phases, RankPhases
from vit_sweep.record.counts import CollectiveKind
from vit_sweep.record.machine import AllReduce, EnergySource, Fingerprint, Gpu, Preflight, Samples, Spread
from vit_sweep.record.record import EpochReport, Record
from vit_sweep.study.code.snapshot import running_digest
from vit_sweep.study.journal import Event
from vit_sweep.study.store import Study

GPUS, BATCHES, SEEDS = (1, 2, 4, 8), (16, 32, 64, 128), range(5)
IMAGES = 3_200
TARGET = 0.1
FLOOR, GOAL_RATIO = "read and parsed", 2
LARGEST, MOST_BYTES = 100_000, 2e9
"""Records, and the memory that collecting them may take."""


def points(count: int) -> list[Point]:
    """So many points: GPU counts, batches, precisions, placements and repeats of ever another learning rate."""
    per_rate = len(GPUS) * len(BATCHES) * len(SEEDS) * 2
    all_points = [
        point(
            gpus=gpus,
            batch=batch,
            seed=seed,
            precision=precision,
            model=MODEL,
            data=data(IMAGES),
            placement=Placement.PACKED if rate % 4 else Placement.SPREAD,
            partition=PARTITION,
            optimizer=replace(OPTIMIZER, learning_rate=1e-4 * (1 + rate)),
        )
        for rate in range(-(-count // per_rate))
        for precision in (Precision.FP32, Precision.FP16)
        for batch in BATCHES
        for seed in SEEDS
        for gpus in GPUS
    ]
    return all_points[:count]


PARTITION = profile(nodes=8, max_minutes=600)


def record_of(cell: Cell, draw: random.Random) -> Record:
    """A record as a job on GPUs writes it, epochs 1 % apart."""
    seconds = [cell.train_images / (100 * cell.gpus**0.9) * draw.gauss(1, 0.01) for _ in range(3)]
    steps = cell.steps_per_epoch
    template: Record = record(
        cell,
        seconds,
        started_at="2025-01-01T00:10:00Z",
        step_ms=[[round(1000 * s / steps * draw.gauss(1, 0.02), 3) for _ in range(steps)] for s in seconds],
    )
    ranks = range(cell.gpus)
    epochs = tuple(
        replace(epoch, phases_by_rank=tuple(_phases(epoch, draw) for _ in ranks)) for epoch in template.epochs
    )
    hosts = [rank.host for rank in template.ranks]
    window = Collective(
        steps=3,
        kinds=(CollectiveKind(name="all_reduce", calls=1, bytes=4000),),
        ms_by_rank=tuple(round(draw.uniform(5, 6), 4) for _ in ranks),
        pure_ms=4.9,
    )
    exposed = Exposed(first_ms=100.0, second_ms=101.0, with_ms=100.5, without_ms=95.0, rounds=8, block_steps=3)
    return replace(
        template,
        epochs=epochs,
        ranks=tuple(replace(rank, peak_memory_mib=4000.0, peak_reserved_mib=4400.0) for rank in template.ranks),
        breakdown=Breakdown(exposed=exposed, collective=window) if cell.gpus > 1 else None,
        machine=tuple(_machine(rank, host) for rank, host in zip(ranks, hosts, strict=True)),
        preflight=tuple(_preflight(rank, cell) for rank in ranks),
        samples=tuple(_samples(rank, sum(seconds), draw) for rank in ranks),
        versions={"python": "3.11.9", "torch": "2.11.0", "deepspeed": "0.19.8", "vit_sweep": "0.1.0"},
        code=running_digest(),
        attempts=("1",),
    )


def _phases(epoch: EpochReport, draw: random.Random) -> RankPhases:
    step = 1000 * epoch.seconds / len(epoch.step_ms)
    parts = {"data_wait": 0.02, "copy": 0.03, "forward": 0.3, "backward": 0.5, "communication": 0.1, "optimizer": 0.04}
    median = {name: round(part * step * draw.gauss(1, 0.01), 3) for name, part in parts.items()} | {"other": 0.1}
    total = {name: round(ms * len(epoch.step_ms), 3) for name, ms in median.items()}
    return RankPhases(steps=len(epoch.step_ms), sum_ms=Phases(**total), median_ms=Phases(**median))


def _machine(rank: int, host: str) -> Fingerprint:
    gpu = Gpu(
        model="Tesla T4",
        memory_mib=15360.0,
        serial="0123456789ab",
        driver="550.54",
        mig=False,
        nvlinks=0,
        pcie_generation=3,
        pcie_width=16,
        numa_node=0,
        sm_clock_mhz=1590,
        max_sm_clock_mhz=1590,
        power_limit_w=70.0,
        other_processes=0,
        other_mib=0.0,
    )
    return Fingerprint(
        rank=rank,
        host=host,
        cpu="Xeon",
        host_cores=32,
        host_memory_mib=152e3,
        network_gbit_per_s=25.0,
        kernel="5.15",
        gpu=gpu,
        python="3.11.9",
        torch="2.11.0",
        deepspeed="0.19.8",
        cuda="12.8",
        nccl="2.27",
    )


def _preflight(rank: int, cell: Cell) -> Preflight:
    sizes = (4096, 65536, 2**20, 2**24, 4 * 1000) if cell.gpus > 1 else ()
    return Preflight(
        rank=rank,
        precision=cell.precision.value,
        matmul_size=4096,
        matmul_tflops=4.1,
        seconds=3.0,
        all_reduce=tuple(AllReduce(size_bytes=s, repetitions=5, min_ms=0.1, median_ms=0.11 + s / 1e7) for s in sizes),
        to_next_gb_per_s=10.0 if cell.gpus > 1 else None,
    )


def _samples(rank: int, seconds: float, draw: random.Random) -> Samples:
    clock, watt = Spread(min=1200.0, median=1400.0, max=1590.0), Spread(min=50.0, median=65.0, max=70.0)
    return Samples(
        rank=rank,
        count=round(seconds),
        seconds=seconds,
        sm_clock_mhz=clock,
        power_w=watt,
        temperature_c=Spread(min=50.0, median=70.0, max=76.0),
        utilisation=Spread(min=0.9, median=1.0, max=1.0),
        throttled_s=0.01 * seconds,
        throttled_s_by_reason=(("power cap", 0.01 * seconds),),
        energy_j=65 * seconds * draw.gauss(1, 0.02),
        energy_from=EnergySource.COUNTER,
    )


def make(folder: Path, count: int) -> Study:
    """The study's folder, as sweeps and jobs leave it."""
    plan = make_plan(points(count))
    assert len(plan.cells) == count, (len(plan.cells), plan.infeasible[:1])
    study = Study.create_or_resume(folder)
    study.write_command([], [], code="0123456789ab")
    study.write_plan(plan, data_root="/data", options=JobOptions(target_accuracy=TARGET))
    draw, cells = random.Random(0), list(plan.cells)
    for cell_id, planned in plan.cells.items():
        keep(record_of(planned.cell, draw), study.cell_dir(cell_id), target=TARGET)
    lines = []
    for first in range(0, count, 500):
        tasks = tuple((cell_id, 1) for cell_id in cells[first : first + 500])
        for event, handle in ((Event.SUBMITTING, ""), (Event.SUBMITTED, str(first))):
            lines.append(json.dumps(to_plain(entry(event, f"b{first}", *tasks, handle=handle))) + "\n")
    (folder / "jobs.jsonl").write_text("".join(lines))
    return study


def files_of(study: Study) -> list[Path]:
    """Every file that the collector reads."""
    folder = study.folder
    return [*folder.glob("cells/*/cell.json"), *folder.glob("cells/*/record.json"), folder / "plan.json"]


def only_json(study: Study) -> int:
    """Read and parse the same bytes, and nothing else; returns how many these are."""
    size = 0
    for path in files_of(study):
        text = path.read_bytes()
        size += len(text)
        json.loads(text)
    for line in (study.folder / "jobs.jsonl").read_text().splitlines():
        json.loads(line)
    return size


def collect(study: Study, *, code: Path = ROOT, keep_caches: bool = False) -> Took:
    """The verb as a process, without figures; `keep_caches`: after another one, else with nothing that one left."""
    for file in () if keep_caches else (*study.folder.glob(".runs-*"), *study.folder.glob(".collected-*")):
        file.unlink()
    return ran(verb("collect", study.folder), code=code, VIT_SWEEP_FIGURES="off", PYTHONDONTWRITEBYTECODE="")


def largest(count: int, size: int, took: Took) -> Table:
    """What one `collect` of so many records, `size` bytes, took."""
    peak = took.peak_mib * 2**20
    return Table(
        f"{count:,} records, {size / 2**20:,.0f} MiB of JSON, collected once without figures",
        ("wall s", "CPU s", "CPU ms a record", "peak GB", "KiB a record", "goal: at most"),
        [
            (
                f"{took.wall:.0f}",
                f"{took.cpu:.1f}",
                f"{1000 * took.cpu / count:.2f}",
                f"{peak / 1e9:.2f}",
                f"{peak / 2**10 / count:.1f}",
                f"{MOST_BYTES / 1e9:.0f} GB, {'met' if peak <= MOST_BYTES else 'not met'}",
            )
        ],
    )


def main() -> None:
    """Measure and print."""
    words = options(__doc__)
    words.add_argument("--records", type=int)
    words.add_argument("--largest", action="store_true", help=f"{LARGEST:,} records once, for the memory")
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--study", type=Path)
    words.add_argument("--against", type=Path, help="a checkout of an earlier version")
    words.add_argument("--profile", action="store_true")
    args = words.parse_args()
    args.records = args.records or (LARGEST if args.largest else 10_000)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (args.study or Path(temporary) / "s").absolute()
        study = Study(folder) if (folder / "jobs.jsonl").is_file() else make(folder, args.records)
        if args.profile:
            import cProfile

            from vit_sweep.report.gather import gather

            profiler = cProfile.Profile()
            profiler.runcall(gather, study)
            profiler.print_stats(sort="tottime")
            return
        size = only_json(study)
        if args.largest:
            took = collect(study)
            figures = {"records": args.records, "bytes": size, "collect": took._asdict()}
            report(figures, args, largest(args.records, size, took))
            return
        rounds: list[dict[str, Took]] = []
        for _ in range(args.rounds):
            rounds.append({FLOOR: timed(lambda: only_json(study))[0], AGAIN: timed(lambda: only_json(study))[0]})
            if args.against:
                rounds[-1]["collect before"] = collect(study, code=args.against.absolute())
            rounds[-1]["collect"] = collect(study)
            rounds[-1]["collect again"] = collect(study, keep_caches=True)
    turns = {name: [one[name] for one in rounds] for name in rounds[0]}
    results = {"records": args.records, "bytes": size}
    title = f"{args.records:,} records, {size / 2**20:.0f} MiB of JSON, collected without figures"
    table = compared(title, turns, FLOOR, by="cpu", goals={"collect": GOAL_RATIO, "collect again": GOAL_RATIO})
    report(results | {"ways": summary(turns, FLOOR)}, args, table)


if __name__ == "__main__":
    main()
