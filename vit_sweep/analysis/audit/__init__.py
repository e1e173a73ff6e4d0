"""Which claims a study's figures can carry: named rules over runs and series (docs/results/audit.md). Pure."""
