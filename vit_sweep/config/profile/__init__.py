"""Profiles of partitions as files: read, in the user's sense, and checked."""
