"""One process of a job: the line that starts it, its variables, and who it is among the ranks."""
