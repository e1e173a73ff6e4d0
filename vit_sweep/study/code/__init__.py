"""Which code a study's jobs run: its snapshot, its commit, the versions installed beside it."""
