"""Tables and sentences of comparisons: of two studies, of pairs of runs, of a gate, of a capsule run again. Pure."""
