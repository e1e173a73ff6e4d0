"""What engines have in common that leave the model and the optimizer to torch; a new one may begin here."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from vit_sweep.job.train.continuing.whole_state import TrainingState, copies
from vit_sweep.job.train.engines.autocast import precision_of, scaler_of
from vit_sweep.job.train.engines.engine import EngineReport, Inputs
from vit_sweep.job.train.measure.collectives import Counted, counted, silenced
from vit_sweep.job.train.model import clip
from vit_sweep.job.train.models.sequence import data_ranks
from vit_sweep.plan.cell import Cell
from vit_sweep.record.record import BatchTriple

STATE = "state.pt"
"""Name of the file of a checkpoint."""


class PlainTorch:
    """Gradients of the model, then its optimizer, and nothing between them: right on one rank only."""

    def __init__(self, cell: Cell, model: nn.Module, optimizer: torch.optim.Optimizer, *, kind: str) -> None:
        """`kind`: what this engine is, by the classes that it is made of."""
        self._cell, self._model, self._optimizer, self._kind = cell, model, optimizer, kind
        self._scaler = scaler_of(cell)
        self._skipped = 0
        self._silent = False
        self._counts: Counted | None = None

    @property
    def module(self) -> nn.Module:
        return self._model

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """torch's own."""
        return self._optimizer

    @property
    def skipped_steps(self) -> int:
        """Steps that the scaling of fp16's loss threw away."""
        return self._skipped

    def exchange_apart(self, enabled: bool) -> bool:  # noqa: ARG002 - for engines that can
        """Gradients are exchanged during backward."""
        return False

    def exchange(self) -> None:
        """Never called."""
        raise NotImplementedError

    def forward(self, inputs: Inputs, *, boundary: bool) -> Tensor:  # noqa: ARG002 - for engines that exchange
        """Logits of a micro step."""
        return self.evaluate(inputs)

    def backward(self, loss: Tensor, *, boundary: bool) -> None:  # noqa: ARG002 - as above
        """Add to the gradients."""
        self._scaler.scale(loss / self._cell.accum).backward()  # type: ignore[no-untyped-call]  # torch's own gap

    def step(self, *, boundary: bool) -> None:
        """Update at a boundary."""
        if boundary:
            scale = self._scaler.get_scale()
            if self._cell.optimizer.clip_norm:
                self._scaler.unscale_(self._optimizer)
                clip(self._cell, self._model)
            self._update()
            self._skipped += self._scaler.get_scale() < scale

    def _update(self) -> None:
        """Change the weights, and forget the gradients."""
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad()

    def evaluate(self, inputs: Inputs) -> Tensor:
        """Logits of whatever images or pairs."""
        logits: Tensor = self._model(inputs)
        return logits

    def weights(self) -> dict[str, Tensor]:
        """A weight of which this rank keeps a part says itself what the whole is."""
        parameters = ((name, weight.detach()) for name, weight in self._model.named_parameters())
        return {name: (w.full_tensor() if hasattr(w, "full_tensor") else w).cpu() for name, w in parameters}

    @contextmanager
    def silenced(self) -> Iterator[None]:
        """Let `carries` say no, and a sequence group exchange nothing."""
        self._silent = True
        try:
            with silenced():
                yield
        finally:
            self._silent = False

    @contextmanager
    def counted(self) -> Iterator[Counted]:
        """Count what `carries` is asked about, and what a sequence group exchanges."""
        try:
            with counted() as self._counts:
                yield self._counts
        finally:
            self._counts = None

    def carries(self, name: str, size_bytes: int) -> bool:
        """To be asked before each collective of a step: counts it, and returns whether it is to be done at all."""
        if self._silent:
            return False
        if self._counts is not None:
            self._counts.add(name, size_bytes)
        return True

    def save(self, folder: Path) -> None:
        """One file of whole tensors by the model's own names, the same whatever engine wrote it."""
        from torch.distributed.checkpoint.state_dict import get_state_dict

        weights, moments = get_state_dict(self._model, self._optimizer, options=_whole())
        if dist.get_rank() == 0:
            state = {"model": weights, "optimizer": moments, "scaler": self._scaler.state_dict()}
            torch.save(state, folder / STATE)

    def load(self, folder: Path) -> None:
        """Each rank reads the file, and takes its part."""
        from torch.distributed.checkpoint.state_dict import set_state_dict

        state = torch.load(folder / STATE, map_location="cpu", weights_only=True)
        set_state_dict(
            self._model,
            self._optimizer,
            model_state_dict=state["model"],
            optim_state_dict=state["optimizer"],
            options=_whole(),
        )
        if state.get("scaler"):
            self._scaler.load_state_dict(state["scaler"])

    def load_state(self, state: TrainingState) -> None:
        """Each rank takes its part of what others left."""
        from torch.distributed.checkpoint.state_dict import get_state_dict, set_model_state_dict, set_state_dict

        weights = copies(state.weights)
        if not state.moments:  # before the first step
            set_model_state_dict(self._model, weights, options=_whole())
            return
        _, optimizer_state = get_state_dict(self._model, self._optimizer)  # for the names of its groups
        moments: dict[str, Any] = {name: copies(states) for name, states in state.moments.items()}
        set_state_dict(
            self._model,
            self._optimizer,
            model_state_dict=weights,
            optim_state_dict={"state": moments, "param_groups": optimizer_state["param_groups"]},
            options=_whole(),
        )
        if state.scale is not None:
            self._scaler.load_state_dict(state.scale.of_torch(self._scaler.state_dict()))

    def report(self) -> EngineReport:
        """What torch says; nobody but the cell knows of the micro batch."""
        micro, accum = self._cell.micro_batch, self._cell.accum
        return EngineReport(
            kind=self._kind,
            classes=(type(self._model).__name__, type(self._optimizer).__name__),
            batch=BatchTriple(micro_batch=micro, accum=accum, global_batch=micro * accum * data_ranks(self._model)),
            zero_stage=None,
            precision=precision_of(self._model),
            parameters=sum(parameter.numel() for parameter in self._model.parameters()),
        )


def _whole() -> Any:
    from torch.distributed.checkpoint.state_dict import StateDictOptions

    return StateDictOptions(full_state_dict=True, cpu_offload=True)
