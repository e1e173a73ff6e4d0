"""The trainer: the only place that imports torch, torchvision, deepspeed and scikit-learn."""
