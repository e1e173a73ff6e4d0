"""Models that others build: loaded, and counted for the plan."""
