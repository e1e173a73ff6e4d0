"""Verbs about what studies measured: tables, the page, verdicts, capsules. Only `reproduce --run` starts jobs."""
