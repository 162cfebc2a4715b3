"""The training loop (paper, Algorithm 1), with exact resume."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from ..config import ModelConfig
from ..errors import Cancelled, MedDDPMError, Paused
from ..files import make_folder
from ..memory import keep_freed_memory
from ..models.registry import save_model_folder
from ..network.residual import ResidualUNet
from ..progress import Reporter
from ..sampling.schedule import Schedule
from .adversarial import RIVALS
from .augment import Augmentation
from .checkpoint import Checkpoints, random_state, restore_random_state
from .config import FREE_TO_CHANGE, TrainConfig, learning_rate
from .dataset import PreparedDataset, open_dataset
from .distributed import Team, make_fabric
from .hooks import Context, Hook, Iteration, TrainingState
from .loader import BatchLoader, BatchSource, sensible_workers
from .metrics import RESUMED, MetricsLog
from .monitor.monitor import Monitor
from .objective import Objective
from .optimizers import make_optimizer
from .resume import case_hashes, dataset_identity, recorded_hashes, require_same, require_same_dataset
from .runner import ENDED
from .start import StartModel, dropped_mask, model_config, read_start, starting_network, use_activation_checkpointing


class Trainer:
    """Trains one model as a ``TrainConfig`` says, in the run folder ``folder``; goes on where that run was stopped.

    Everything random comes from generators seeded by what it is for, so that a resumed run equals the uninterrupted
    one. ``fabric`` and ``hooks`` replace what is usual.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: Path,
        reporter: Reporter,
        *,
        fabric: Fabric | None = None,
        hooks: Callable[[Context], Sequence[Hook]] = lambda context: [Monitor(context)],
    ) -> None:
        self.config, self.folder = config, Path(folder)
        if config.threads:
            torch.set_num_threads(config.threads)
        keep_freed_memory()
        self.fabric = fabric or make_fabric(config)
        self.team = Team(self.fabric)
        self._divided = self.team.check(config)
        self.reporter = reporter
        if self.team.first:
            make_folder(self.folder)
        self.dataset: PreparedDataset = open_dataset(config, self.team)
        self.identity = dataset_identity(Path(config.dataset)) if self.team.first else {}
        self.checkpoints = Checkpoints(self.folder / "checkpoints", config.checkpoint, self.reporter)
        self.context = self._begin()
        augmentation = Augmentation(config.augment, self.context.model)
        source = BatchSource(
            self.dataset, augmentation, self.context.objective, self._divided, self.team.rank, self.team.size
        )
        device = self.fabric.device
        workers = sensible_workers(config.scale.workers, device, self.team.local_size)
        self.loader = BatchLoader(source, workers, pin=device.type == "cuda", warn=reporter.warning)
        self.hooks = list(hooks(self.context))
        self._stop: Cancelled | None = None
        self._saved = self.state.iteration

    @property
    def state(self) -> TrainingState:
        """What changes while training."""
        return self.context.state

    def _begin(self) -> Context:
        """Everything that the loop needs, at the newest checkpoint or at the beginning."""
        config, checkpoint = self.config, self.checkpoints.load_newest()
        if checkpoint is not None:
            require_same(checkpoint["config"], config.to_dict(), FREE_TO_CHANGE)
            if self.team.first:
                require_same_dataset(json.loads(checkpoint["dataset"]), Path(config.dataset), self.identity)
        start = read_start(config.start_from) if config.start_from and checkpoint is None else None
        former = start[0] if start else None
        if checkpoint is not None:
            former = ModelConfig.from_json(checkpoint["model"])
        model = model_config(config, self.dataset.config, former, dropped_mask(config, self.dataset))
        schedule = Schedule.from_config(config.schedule)
        state = self._state(model, schedule, start, None if checkpoint else self.dataset)
        if checkpoint is not None:
            self.team.load_full_state(state, checkpoint)
            restore_random_state(checkpoint["random"])
            self.fabric.strategy.precision.load_state_dict(checkpoint.get("precision", {}))
        # Also of a run that was killed before its first checkpoint.
        if self.team.first and MetricsLog(self.folder).tail():
            MetricsLog(self.folder).append(RESUMED, state.iteration)
        network = getattr(state.network, "module", state.network)
        coder = network.appearance.coder() if isinstance(network, ResidualUNet) else None
        objective = Objective(model, schedule, config.loss, config.mask_dropout, coder)
        return Context(config, self.folder, self.reporter, self.fabric, model, objective, self.dataset, state)

    def _state(
        self, model: ModelConfig, schedule: Schedule, start: StartModel | None, measured: PreparedDataset | None
    ) -> TrainingState:
        torch.manual_seed(self.config.seed)
        network: Any = starting_network(self.config, model, schedule, measured, start, self.reporter)
        if self.config.activation_checkpointing:
            use_activation_checkpointing(network)
        network = network.to(memory_format=torch.channels_last_3d)
        average = AveragedModel(network)
        optimizer = make_optimizer(network, self.config.optimizer, self.config.precision)
        return TrainingState(*self.team.setup(network, average, optimizer))

    def run(self) -> Path:
        """Train to ``config.iterations``; returns the model folder.

        Raises MedDDPMError if loss or weights are no longer finite, and Cancelled, after writing a checkpoint, when the
        reporter says so.
        """
        try:
            self.team.require_alike("the iteration to resume from", self.state.iteration)
            with self.team.together():
                self._loop()
        finally:
            self.loader.close()
            self.dataset.close()
            for hook in self.hooks:
                hook.close()
        return self.folder / "outputs" / "model"

    def _loop(self) -> None:
        config, state = self.config, self.state
        if state.iteration >= config.iterations:
            self.save()  # a process that was killed after its last checkpoint has not written the model
        while state.iteration < config.iterations:
            started = time.monotonic()
            try:
                self.reporter.check_cancelled()
            except Cancelled as exc:
                self._stop = self._stop or exc
            if self._stop is not None and self.team.size == 1:
                self._end(self._stop)
            loss, group_stops = self._iterate(self._stop is not None)
            state.iteration += 1
            state.update_average(config.ema)
            rate = state.optimizer.param_groups[0]["lr"]
            done = Iteration(state.iteration, config.iterations, loss, rate, time.monotonic() - started)
            self._tell(done)
            if done.due(config.checkpoint.every):
                self.save()
            self.reporter.step(state.iteration, config.iterations)
            if group_stops:
                self._end(self._stop or Paused(ENDED))  # as another one of its processes was asked to

    def _tell(self, done: Iteration) -> None:
        """Call the hooks. One that is interrupted does not keep the others of a group of processes waiting."""
        for hook in self.hooks:
            try:
                hook.after_iteration(done)
            except Cancelled as exc:
                self._stop = exc
        monitor = self.config.monitor
        if done.due(monitor.validate_every) or done.due(monitor.sample_every):
            self.team.barrier()

    def _end(self, stop: Cancelled) -> NoReturn:
        """Stop here: with a checkpoint of what the last one does not have."""
        if self.state.iteration != self._saved:
            self.save()
        raise stop

    def _iterate(self, stop: bool) -> tuple[float, bool]:
        """One step of the optimizer: its loss, and whether some process of the group was asked to stop."""
        config, state, parts = self.config, self.state, self._divided.accumulate
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate(config.optimizer, state.iteration, config.iterations)
        total = torch.zeros((), device=self.fabric.device)
        for part in range(parts):
            batch = self.loader.batch(state.iteration, part).to(self.fabric.device)
            with self.team.no_sync(state.network, part < parts - 1):
                loss = self.context.objective.loss(state.network, batch) / parts
                self.fabric.backward(loss)
            total += loss.detach()
        mean, stopped = self.team.mean_and_stop(total, stop)
        self._require_finite("loss", mean)
        if config.optimizer.clip_norm:
            # In fp16 a norm that is not finite means a scale to be lowered, which the optimizer does.
            norm = self.fabric.clip_gradients(
                state.network, state.optimizer, max_norm=config.optimizer.clip_norm, error_if_nonfinite=False
            )
            if config.precision != "fp16" and isinstance(norm, Tensor):
                self._require_finite("gradient", float(norm))
        state.optimizer.step()
        state.optimizer.zero_grad()
        return mean, stopped

    def _require_finite(self, what: str, value: float) -> None:
        if not math.isfinite(value):
            raise MedDDPMError(
                f"The {what} became {value} at iteration {self.state.iteration + 1}. The last checkpoint is kept; "
                "continue from it with a lower optimizer.lr or an optimizer.clip_norm (such as 1)."
            )

    def save(self) -> None:
        """Write a checkpoint and the model folder with the averaged weights."""
        state = self.state
        for name, parameter in state.network.named_parameters():  # such a state is worth no checkpoint
            if not torch.isfinite(parameter).all():
                raise MedDDPMError(
                    f"The weights {name} became numbers that are not finite by iteration {state.iteration}. The last "
                    "checkpoint is kept; continue from it with a lower optimizer.lr or a smaller optimizer.clip_norm."
                )
        self._saved = state.iteration
        full = self.team.full_state(state)
        if not self.team.first:
            return
        # The model first: whatever kills the process between the two, the run goes on from the checkpoint before.
        average = {
            name.removeprefix("module."): tensor
            for name, tensor in full["average"].items()
            if name.startswith("module.") and not name.startswith(f"module.{RIVALS}.")
        }
        save_model_folder(self.folder / "outputs" / "model", self._described(), average)
        kept = {
            "config": json.dumps(self.config.to_dict()),
            "dataset": json.dumps(self.identity),
            "model": self.context.model.to_json(),
            "random": random_state(),
            "precision": self.fabric.strategy.precision.state_dict(),  # of fp16: its scale
        }
        self.checkpoints.save(state.iteration, {**full, **kept}, state.validation)

    def _described(self) -> ModelConfig:
        """The model's configuration with the provenance of its training so far."""
        cases = [case.id for case in self.dataset.cases]
        settings = self.config.to_dict()
        for key in ("dataset", "scale", "threads", "device"):  # of this machine, which say nothing to another one
            settings.pop(key)
        if settings["start_from"]:
            settings["start_from"] = Path(settings["start_from"]).name
        former = recorded_hashes(self.context.model.training)
        hashes = former | case_hashes(self.dataset.config, self.identity["contents"], cases)
        facts = {
            "iterations": self.state.iteration,
            "training_cases": cases,
            "training_hashes": hashes,
            "config": settings,
        }
        return replace(self.context.model, training={**facts, "dataset": self.dataset.config.provenance})
