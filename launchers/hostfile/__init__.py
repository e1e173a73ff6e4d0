"""Hosts that share a file system and have no Slurm: ranks by ssh or mpirun."""
