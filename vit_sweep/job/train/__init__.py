"""The trainer. Only here, and in `data/prepare/`, torch, torchvision, deepspeed and scikit-learn are imported."""
