"""What commands end with; 2, for a user's mistake, is given where it is told."""

EXIT_DONE, EXIT_FAILED, EXIT_UNDER_WAY = 0, 1, 3
"""All cells are done; a cell has ended otherwise; the rest is under way or has not begun."""
EXIT_OPEN = 4
"""Nobody can tell, and somebody wants to know."""
EXIT_DETACHED = 130
"""Ctrl-C: the jobs go on."""
CODES = {
    EXIT_DONE: "all cells are done; of a verb that judges: nothing speaks against it",
    EXIT_FAILED: "a cell has ended otherwise; audit: a claim falls; gate: something got worse; compare: no cell could "
    "be paired; collect, report: no run has a time yet; render-diff: the scripts differ; check, doctor: something is "
    "wrong; reproduce: something differs, or a cell that it ran has failed",
    2: "a mistake in the command: one sentence says which, and nothing was submitted",
    EXIT_UNDER_WAY: "status: cells are under way or have not begun; reproduce --run wait=false: likewise",
    EXIT_OPEN: "gate --strict: nobody can tell whether something got worse; without --strict that is 0, and a warning; "
    "reproduce: nobody can tell",
    EXIT_DETACHED: "Ctrl-C: the jobs go on",
}
"""What each code of a command says."""
