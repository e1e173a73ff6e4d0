"""How cells are sent and when their jobs are likely to start: packed or not, beside what is in flight. Edges."""
