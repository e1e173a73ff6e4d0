"""Trainings that go on from another cell's checkpoint, on other GPUs or with another engine."""
