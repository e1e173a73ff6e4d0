"""Data sets made ready on a login node: downloads, image folders, packing. It may import torch."""
