"""The queue that outlives its client, for machines without Slurm and inside a Slurm job: tasks, files, slots, clock."""
