"""What commands end with; 2, for a user's mistake, is given where it is told."""

EXIT_DONE, EXIT_FAILED, EXIT_UNDER_WAY = 0, 1, 3
"""All cells are done; a cell has ended otherwise; the rest is under way or has not begun."""
EXIT_DETACHED = 130
"""Ctrl-C: the jobs go on."""
