"""What a person types and sees: verbs, the sweep, progress, printed tables. Nothing below imports it."""
