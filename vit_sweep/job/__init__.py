"""What runs on a node: the first line, the watch over a rank, the last line, and the trainer. No client code."""
