"""From points to a plan: cells, grids, refusals, memory, cost. Pure: no file, no clock, no machine."""
