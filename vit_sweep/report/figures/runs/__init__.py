"""Figures of runs, not of curves over GPU counts: accuracy, memory, ranks, steps, the roofline. Edges."""
