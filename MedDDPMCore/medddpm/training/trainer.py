"""The training loop (paper, Algorithm 1) on one machine, with exact resume."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from ..config import ModelConfig
from ..errors import MedDDPMError
from ..memory import keep_freed_memory
from ..models.folder import save_model_folder
from ..progress import Reporter
from ..sampling.schedule import Schedule
from .augment import Augmentation
from .batches import batches
from .checkpoint import load_newest, require_same, save_checkpoint
from .config import TrainConfig, learning_rate
from .dataset import PreparedDataset
from .objective import Objective
from .start import fresh_network

# A run may be continued with other values of these; all else must stay, or it would be another run.
FREE_TO_CHANGE = (
    "iterations",
    "crop_voxels",
    "ema_decay",
    "checkpoint_every",
    "log_every",
    "threads",
    "optimizer",
    "output",
    "dataset",
)
FABRIC_PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed"}


@dataclass
class TrainingState:
    """What changes while training: the modules, the optimizer and the number of finished iterations."""

    network: Any
    average: AveragedModel
    optimizer: Any
    step: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Tensors and plain data for a checkpoint."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load(self, checkpoint: dict[str, Any]) -> None:
        """The inverse of ``to_dict``."""
        self.network.load_state_dict(checkpoint["network"])
        self.average.load_state_dict(checkpoint["average"])
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        self.step = int(checkpoint["step"])


class Trainer:
    """Trains one model as a ``TrainConfig`` says; ``run`` may be interrupted at any moment and called again.

    Every random number of an iteration comes from a generator seeded with (seed, iteration), so that a resumed run
    equals the uninterrupted one without storing generator states.
    """

    def __init__(self, config: TrainConfig, reporter: Reporter) -> None:
        self.config = config
        self.reporter = reporter
        self.output = Path(config.output)
        self.dataset = PreparedDataset(Path(config.dataset), "train")
        self.model_config = model_config(config, self.dataset)
        self.schedule = Schedule.from_config(config.schedule)
        self.objective = Objective(self.model_config, self.schedule)
        self.augmentation = Augmentation(config, self.model_config)
        if config.threads:
            torch.set_num_threads(config.threads)
        keep_freed_memory()
        self.fabric = Fabric(devices=1, precision=FABRIC_PRECISION[config.precision])  # type: ignore[arg-type]
        self.state = self._build()

    def _build(self) -> TrainingState:
        torch.manual_seed(self.config.seed)
        network = fresh_network(self.config.network, self.schedule, self.dataset).to(
            memory_format=torch.channels_last_3d
        )  # type: ignore[call-overload]
        plan = self.config.optimizer
        optimizer = torch.optim.Adam(network.parameters(), plan.lr, (plan.beta1, plan.beta2), fused=True)
        average = AveragedModel(network, multi_avg_fn=warmed_up_average(self.config.ema_decay))
        state = TrainingState(network, average.to(self.fabric.device), optimizer)
        state.network, state.optimizer = self.fabric.setup(network, optimizer)
        checkpoint = load_newest(self.output / "checkpoints")
        if checkpoint is not None:
            require_same(checkpoint["config"], self.config.to_dict(), FREE_TO_CHANGE)
            state.load(checkpoint)
        return state

    def run(self) -> Path:
        """Train to ``config.iterations`` and return the model folder. Raises MedDDPMError if the loss is not finite."""
        config, state = self.config, self.state
        order = batches(len(self.dataset), config.batch_size, config.seed, state.step * config.accumulate)
        losses: list[float] = []
        started = time.monotonic()
        while state.step < config.iterations:
            self.reporter.check_cancelled()
            losses.append(self._iterate(order))
            state.step += 1
            if state.step % config.log_every == 0 or state.step == config.iterations:
                self._log(losses, (time.monotonic() - started) / len(losses))
                losses, started = [], time.monotonic()
            if state.step % config.checkpoint_every == 0 or state.step == config.iterations:
                self.save()
            self.reporter.step(state.step, config.iterations)
        return self.output / "model"

    def _iterate(self, order: Any) -> float:
        """One optimizer step; returns its loss."""
        config, state = self.config, self.state
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate(config.optimizer, state.step, config.iterations)
        total = 0.0
        for part in range(config.accumulate):
            generator = torch.Generator().manual_seed((config.seed << 40) + state.step * config.accumulate + part)
            loss = self._loss(next(order), generator) / config.accumulate
            self.fabric.backward(loss)
            total += float(loss.detach())
        if not math.isfinite(total):
            raise MedDDPMError(
                f"The loss became {total} at iteration {state.step + 1}. The last checkpoint is kept; "
                "continue with a lower learning rate or a clip_norm."
            )
        if config.optimizer.clip_norm:
            self.fabric.clip_gradients(state.network, state.optimizer, max_norm=config.optimizer.clip_norm)
        state.optimizer.step()
        state.optimizer.zero_grad()
        state.average.update_parameters(state.network.module)
        return total

    def _loss(self, indices: list[int], generator: torch.Generator) -> Tensor:
        pairs = [self.augmentation(*self.dataset[i], generator) for i in indices]
        batch = self.objective.draw(pairs, generator).to(self.fabric.device)
        return self.objective.loss(self.state.network, batch)

    def _log(self, losses: list[float], seconds: float) -> None:
        """Append one line to ``log.jsonl``: iteration, mean loss, learning rate, seconds an iteration."""
        entry = {
            "iteration": self.state.step,
            "loss": sum(losses) / len(losses),
            "lr": self.state.optimizer.param_groups[0]["lr"],
            "seconds_per_iteration": seconds,
            "time": time.time(),
        }
        self.output.mkdir(parents=True, exist_ok=True)
        with (self.output / "log.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")

    def save(self) -> None:
        """Write a checkpoint and the model folder with the averaged weights."""
        state = {**self.state.to_dict(), "config": json.dumps(self.config.to_dict())}
        save_checkpoint(self.output / "checkpoints", self.state.step, state)
        save_model_folder(self.output / "model", self._described(), self.state.average.module.state_dict())

    def _described(self) -> ModelConfig:
        """The model's configuration with the provenance of its training so far."""
        cases = [case.id for case in self.dataset.cases]
        settings = self.config.to_dict()
        for key in ("dataset", "output"):  # folders of this machine say nothing to another one
            settings.pop(key)
        facts = {"iterations": self.state.step, "training_cases": cases, "config": settings}
        return replace(self.model_config, training={**facts, "dataset": self.dataset.config.provenance})


def warmed_up_average(decay: float) -> Callable[[Any, Any, Any], None]:
    """Exponential moving average whose decay grows to ``decay``: min(decay, (1 + n) / (10 + n)) at update n.

    Without the growth a short run would keep the random weights of its start in the average.
    """

    @torch.no_grad()
    def update(average: Any, current: Any, updates: Tensor) -> None:
        n = float(updates)
        torch._foreach_lerp_(average, current, 1 - min(decay, (1 + n) / (10 + n)))

    return update


def model_config(config: TrainConfig, dataset: PreparedDataset) -> ModelConfig:
    """The configuration of the model that this run will produce."""
    data = dataset.config
    return ModelConfig(
        name=config.name,
        modalities=data.modalities,
        network=config.network,
        schedule=config.schedule,
        scheme=data.scheme,
        grid=data.grid,
        mask_values=data.mask_values,
        background=data.background,
        normalization=data.normalization,
        prior=data.prior,
        licence=config.licence,
        intended_use=config.intended_use,
    )
