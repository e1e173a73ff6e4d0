"""What was read or worked out before, so that the next look need not: believed only while its files are unchanged."""
