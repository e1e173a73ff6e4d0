"""The paper's way (arXiv:2602.21081), with which benchmarks compare: PIL transforms and a plain fp32 loop."""

import time

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from vit_sweep.job.train.images.data import Split

WORKERS = 2
"""Of its DataLoader."""


class Paper(Dataset[tuple[Tensor, int]]):
    """The paper's transforms of one image, as torchvision's CIFAR applies them."""

    def __init__(self, split: Split, side: int) -> None:
        self.arrays = split.images.permute(0, 2, 3, 1).contiguous().numpy()
        self.labels = split.labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.ToPILImage(),
                transforms.Resize(side),
                transforms.ToTensor(),
                transforms.Normalize((0.5,), (0.5,)),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.arrays[index]), self.labels[index]


class PlainLoop:
    """Its training loop: fp32, AdamW(lr=1e-4), workers that live for an epoch, a number read in every step.

    Without DeepSpeed, its timers (`wall_clock_breakdown`) and tqdm, which the paper left on: faster than what it ran.
    """

    def __init__(
        self, model: nn.Module, split: Split, *, side: int, batch: int, workers: int, device: torch.device
    ) -> None:
        self._model = model.to(device).train()
        self._optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
        self._loader = DataLoader(
            Paper(split, side),
            batch_size=batch,
            shuffle=True,
            drop_last=True,
            num_workers=workers,
            pin_memory=device.type == "cuda",
        )
        self._device = device

    def steps_ms(self, steps: int) -> list[float]:
        """Milliseconds of each of the first steps of an epoch; the first one waits for the workers to begin."""
        # torch's defaults, which the paper kept; a benchmark's other loops may have changed them.
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = False, True
        loss_of = nn.CrossEntropyLoss()
        times: list[float] = []
        running, correct = 0.0, 0.0
        last_s = time.perf_counter()
        while len(times) < steps:
            for images, labels in self._loader:
                images, labels = images.to(self._device), labels.to(self._device)  # noqa: PLW2901 - as the paper writes it
                outputs = self._model(images)
                loss = loss_of(outputs, labels)
                self._optimizer.zero_grad()
                loss.backward()
                self._optimizer.step()
                running += loss.item()
                correct += (outputs.argmax(dim=1) == labels).sum().item()
                now = time.perf_counter()
                times.append(1000 * (now - last_s))
                last_s = now
                if len(times) == steps:
                    break
        return times
