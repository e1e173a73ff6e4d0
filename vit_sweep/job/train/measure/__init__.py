"""Measuring beside the training: preflight, windows, collectives, exposed communication."""
