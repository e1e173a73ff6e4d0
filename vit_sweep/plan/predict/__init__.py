"""What a cell will need and take: parameters, FLOPs, memory, traffic, time, cost. Pure formulas, no measurement."""
