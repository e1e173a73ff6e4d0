"""Runs of any origin as one type: a study's records, somebody's CSV file, a published figure. It judges nothing."""
