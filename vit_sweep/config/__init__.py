"""Hydra's words to points and settings; partition profiles. The only room that knows Hydra."""
