"""Whether a study got worse than a baseline: by counts, then by times; and since when. Pure."""
