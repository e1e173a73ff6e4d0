"""What `import vit_sweep` gives: studies and sweeps from Python and notebooks. It prints nothing and never exits.

The verbs stand on the same functions. docs/python.md shows it; a user's mistake is a `UserError`, its sentence that of
the command.
"""
