"""How fast a grid is composed, planned and rendered, against stock Hydra, in one run.

    python benchmarks/planning.py [CELLS]      default 240; 2000 and 10000 are the figures of docs/architecture.md

Prints seconds for both ways over the same cells (stock Hydra on at most 240 of them, scaled), their ratio, the
seconds to render and write the scripts, the peak memory, and the wall time of the 12-cell example's whole dry run (a
fresh process, imports included). Interleaved, best of three, so that a busy machine hurts both alike.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from vit_sweep.cli.sweep import _render
from vit_sweep.config.compose import conf_dir, expand, plain
from vit_sweep.config.settings import read
from vit_sweep.plan.plan import make_plan
from vit_sweep.study.store import Study

STOCK_AT_MOST = 240


def timed(work):
    begun = time.perf_counter()
    result = work()
    return time.perf_counter() - begun, result


def main(cells):
    seeds = cells // 12
    overrides = ["gpus=1,2,4,8", "batch=16,64,128", f"seed=range({seeds})", "partition=vector_t4v2"]
    stock_seeds = range(min(seeds, STOCK_AT_MOST // 12))
    with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        loader = GlobalHydra.instance().hydra.config_loader

        def ours():
            master = compose("config", return_hydra_config=True)
            points, _ = read(expand(overrides, loader=loader, master=master))
            return make_plan(points)

        def stock():
            for seed in stock_seeds:
                for gpus in (1, 2, 4, 8):
                    for batch in (16, 64, 128):
                        words = [f"gpus={gpus}", f"batch={batch}", f"seed={seed}", "partition=vector_t4v2"]
                        plain(compose("config", overrides=words))

        rounds = 3 if cells <= STOCK_AT_MOST else 1
        pairs = [(timed(ours), timed(stock)) for _ in range(rounds)]
    (fast, plan), slow = min((ours for ours, _ in pairs), key=lambda t: t[0]), min(s for _, (s, _) in pairs)
    scale = seeds / len(stock_seeds)
    assert len(plan.cells) == 12 * seeds
    print(f"{12 * seeds} cells: composed and planned in {fast:.2f} s; stock Hydra composes them in {slow * scale:.1f} s"
          + (" (scaled)" if scale > 1 else ""))  # fmt: skip
    print(f"ratio {slow * scale / fast:.1f} (stock multirun composes every cell twice: {2 * slow * scale / fast:.1f})")
    with tempfile.TemporaryDirectory() as folder:
        study = Study.create_or_resume(Path(folder) / "s")
        seconds, _ = timed(lambda: study.write_plan(plan, data_root="data"))
        print(f"plan.json and every cell's files written in {seconds:.2f} s")
        todo = {cell_id: (planned, 1) for cell_id, planned in plan.cells.items()}
        seconds, _ = timed(lambda: [study.write_rendered(item) for item in _render(study, todo, None)])
        print(f"scripts rendered and written in {seconds:.2f} s")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:.0f} MiB")
    with tempfile.TemporaryDirectory() as folder:
        words = ["-m", "gpus=1,2,4,8", "batch=16,64,128", "dry_run=true", f"outputs={folder}"]
        command = [sys.executable, "-m", "vit_sweep", *words]
        walls = [timed(lambda: subprocess.run(command, check=True, capture_output=True))[0] for _ in range(3)]
    print(f"the 12-cell dry run as a whole process: {min(walls):.2f} s (goal 1.5)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 240)
