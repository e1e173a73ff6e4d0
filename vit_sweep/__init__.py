"""vit_sweep: Slurm-native scaling studies of Vision Transformers."""

__version__ = "0.1.0"
