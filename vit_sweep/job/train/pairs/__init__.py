"""Image-caption pairs: two towers, the loss over all ranks' pairs, captions as tokens, and finding one by the other."""
