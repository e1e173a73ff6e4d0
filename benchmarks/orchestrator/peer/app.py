"""The peer's application, as the documentation of Hydra's submitit launcher writes one: a task that only says it ran.

It is run by the peer's own interpreter, which knows nothing of this product.
"""

import os
from pathlib import Path

import hydra
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path=None)
def task(cfg: DictConfig) -> float:
    """Rank 0 of a cell leaves a line; its other ranks do nothing, as a cell's other ranks do not write records."""
    if os.environ.get("SLURM_PROCID", "0") == "0":
        with Path(cfg.ran).open("a") as ran:
            ran.write(f"{cfg.gpus} {cfg.partition} {cfg.seed}\n")
    return 1.0


if __name__ == "__main__":
    task()
