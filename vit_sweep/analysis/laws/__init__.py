"""Laws of scaling: formulas, fits, predictions and their refusals. Pure."""
