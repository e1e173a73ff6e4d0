"""Image-caption pairs: the text tower, what of it can be planned, and what cannot. Pure."""
