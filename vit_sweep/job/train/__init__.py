"""The trainer. Only here, and in `data/prepare/`, torch, torchvision and deepspeed are imported."""
