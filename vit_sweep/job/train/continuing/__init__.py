"""Going on from another cell's checkpoint: its files as whole tensors, whatever wrote them, and into any engine."""
