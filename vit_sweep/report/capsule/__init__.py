"""A study as one thing to cite: a copy that names no place, its tables and page, who made it, checksums of all of it.

`cleaning` is pure; `taking` reads the study, `describing` says what it is, `crate` says so in RO-Crate's words,
`making` puts it together, `manifest` proves it whole again.
"""
