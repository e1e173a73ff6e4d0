"""Engines: what spreads the training of a model over the ranks; one file each, behind the Protocol of `engine`."""
