"""A look at all of Slurm's queue: what squeue, scontrol and sacctmgr say of it, as a snapshot."""
