"""How much faster a grid is composed and planned than by stock Hydra, in one run.

    python benchmarks/planning.py [CELLS]      default 240

Prints seconds for both ways over the same cells, their ratio, and the wall time of the 12-cell example's whole
dry run (a fresh process, imports included). Interleaved, best of three, so that a busy machine hurts both alike.
"""

import subprocess
import sys
import tempfile
import time

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from vit_sweep.compose import conf_dir, expand, plain
from vit_sweep.config import read
from vit_sweep.plan import make_plan


def timed(work):
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def main(cells):
    seeds = ",".join(str(seed) for seed in range(cells // 12))
    overrides = ["gpus=1,2,4,8", "batch=16,64,128", f"seed={seeds}"]
    with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        loader = GlobalHydra.instance().hydra.config_loader

        def ours():
            master = compose("config", return_hydra_config=True)
            points, _ = read(expand(overrides, loader=loader, master=master))
            assert len(make_plan(points).points) == cells // 12 * 12

        def stock():
            for seed in seeds.split(","):
                for gpus in (1, 2, 4, 8):
                    for batch in (16, 64, 128):
                        plain(compose("config", overrides=[f"gpus={gpus}", f"batch={batch}", f"seed={seed}"]))

        pairs = [(timed(ours), timed(stock)) for _ in range(3)]
    fast, slow = min(pair[0] for pair in pairs), min(pair[1] for pair in pairs)
    print(f"{cells // 12 * 12} cells: composed and planned in {fast:.2f} s; stock Hydra composes them in {slow:.2f} s")
    print(f"ratio {slow / fast:.1f} (stock multirun composes every cell twice: {2 * slow / fast:.1f})")
    with tempfile.TemporaryDirectory() as folder:
        words = ["-m", "gpus=1,2,4,8", "batch=16,64,128", "dry_run=true", f"outputs={folder}"]
        command = [sys.executable, "-m", "vit_sweep", *words]
        walls = [timed(lambda: subprocess.run(command, check=True, capture_output=True)) for _ in range(3)]
    print(f"the 12-cell dry run as a whole process: {min(walls):.2f} s (goal 1.5)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 240)
