"""Data sets: listed, fetched, verified, packed. No training."""
