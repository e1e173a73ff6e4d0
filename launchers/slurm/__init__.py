"""Slurm: sbatch scripts, states, refusals, discovery, the queue inside a shared job."""
