"""Verbs before the first sweep: what the machine lacks, profiles, data sets, the tab key."""
