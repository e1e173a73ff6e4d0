"""A study's folder: its files, lock, journal, status and code snapshot. Nobody else writes there."""
