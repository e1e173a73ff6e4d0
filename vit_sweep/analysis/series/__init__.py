"""Runs that may be compared: grouped, against one baseline, with intervals. Pure."""
