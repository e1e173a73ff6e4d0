"""A study as one thing to cite: a copy that names no place, its tables and page, who made it, checksums of all of it.

`cleaning` is pure; `contents` reads the study, `metadata` says what it is, `crate` says so in RO-Crate's words,
`build` puts it together, `manifest` proves it whole again.
"""
