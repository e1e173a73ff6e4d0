"""Waiting wisely: when jobs are likely to start, by what stands in the queue. Pure."""
