"""Other libraries that a run tells its figures to, between epochs. One file each; none is imported before it is used.

`record.json` stays the truth: these are told what it says, and may fail without the run.
"""
