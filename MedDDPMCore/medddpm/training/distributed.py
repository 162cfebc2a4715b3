"""Several processes that train one model: how they are set up, and what they do together.

``make_fabric`` makes the Fabric of a configuration, ``Team`` is the group of processes as the training loop sees it;
one process alone is a team of one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.optim.swa_utils import AveragedModel

from ..errors import InputError, MedDDPMError
from ..network.blocks import Stage
from .config import TrainConfig
from .hooks import TrainingState
from .launch import Launch, launched

FABRIC_PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
# How long processes wait for each other; and for the first one, while it makes samples.
START = timedelta(minutes=10)
PATIENCE = timedelta(days=2)


def make_fabric(config: TrainConfig) -> Fabric:
    """The Fabric of a configuration, launched.

    Where torchrun, ``fabric run`` or SLURM started the processes, their number counts; else ``config.scale`` says how
    many, and Fabric starts the others. Raises InputError where the devices, the precision or the other processes are
    not there.
    """
    launch = launched()
    if launch is None:
        scale = config.scale
        launch = Launch(0, scale.devices * scale.nodes, scale.devices)
    asked = f"{launch.local_size} process(es) on each of {launch.nodes} machine(s), precision {config.precision}"
    try:
        with _without_fabric_run() as given:
            device = given.get("LT_ACCELERATOR", config.device)
            cuda = device in ("cuda", "gpu") or (device == "auto" and torch.cuda.is_available())
            if config.precision == "fp16" and not cuda:
                raise InputError(
                    "The training option precision is 'fp16', but only NVIDIA GPUs train in it. Use bf16 or fp32."
                )
            fabric = Fabric(
                accelerator=device,
                devices=launch.local_size,
                num_nodes=launch.nodes,
                precision=FABRIC_PRECISION[config.precision],  # type: ignore[arg-type]
                strategy=_strategy(given.get("LT_STRATEGY", config.scale.strategy), config, launch),
            )
            fabric.launch()
    except (RuntimeError, ValueError, TypeError, OSError) as exc:  # Fabric's and torch.distributed's own errors
        said = (" ".join(str(exc).split()) or type(exc).__name__).split(". ")[0].rstrip(".")
        raise InputError(
            f"The training cannot be set up as asked ({asked}, device {config.device}): {said}. Check "
            "the number of processes and machines, that each of them was started (srun, or torchrun on every machine), "
            "and that they reach each other over the network."
        ) from exc
    return fabric


def _strategy(name: str, config: TrainConfig, launch: Launch) -> Strategy | str:
    if launch.size == 1:
        return "auto"
    if name == "fsdp":
        if config.precision == "fp16":
            raise InputError(
                "The training options precision = 'fp16' and scale.strategy = 'fsdp' do not go together. Use bf16."
            )
        return ModelParallelStrategy(
            _shard,
            data_parallel_size=launch.size,
            tensor_parallel_size=1,
            timeout=START,
            save_distributed_checkpoint=False,
        )
    if name not in ("auto", "ddp"):
        raise InputError(f"The strategy '{name}' is unknown. Choose auto, ddp or fsdp.")
    return DDPStrategy(timeout=START, gradient_as_bucket_view=True)


def _shard(network: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Divide the parameters of ``network`` over all processes of ``mesh``, gathered again stage by stage (FSDP2).

    Only the plain layout can be divided; convolutions take weights in any.
    """
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    for module in (*(module for module in network.modules() if isinstance(module, Stage)), network):
        fully_shard(module, mesh=mesh["data_parallel"])
    return network


@contextmanager
def _without_fabric_run() -> Iterator[dict[str, str]]:
    """What the command ``fabric run`` has left in the environment, which Fabric does not see meanwhile.

    It would refuse any value that differs in form from what it is given, though both say the same.
    """
    given = {name: value for name, value in os.environ.items() if name.startswith("LT_")}
    for name in given:
        del os.environ[name]
    try:
        yield given
    finally:
        os.environ.update(given)


class Team:
    """The processes that train together: ``rank`` of ``size``, of which the ``first`` alone writes.

    ``local_rank`` of ``local_size`` is the place among those of this machine.
    """

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.rank, self.size = fabric.global_rank, fabric.world_size
        self.first = self.rank == 0
        self.local_rank = fabric.local_rank
        self.local_size = int(getattr(fabric.strategy, "num_processes", 1))
        self._sharded = isinstance(fabric.strategy, ModelParallelStrategy)
        several = torch.distributed.is_available() and torch.distributed.is_initialized()
        self._patient = torch.distributed.new_group(timeout=PATIENCE, backend="gloo") if several else None

    def check(self, config: TrainConfig) -> TrainConfig:
        """The configuration with its iterations divided so that every process has as much to do.

        ``batch_size`` times ``accumulate`` stays, and no process gets more volumes at once than ``batch_size`` asks
        for. Raises InputError where the volumes of an iteration cannot be divided among the processes.
        """
        if config.batch_size % self.size == 0:
            return config
        together = config.batch_size * config.accumulate
        if together % self.size:
            raise InputError(
                f"The {together} volume(s) of an iteration (batch_size {config.batch_size} x accumulate "
                f"{config.accumulate}) cannot be divided among {self.size} processes. Set accumulate so that their "
                f"number is a multiple of {self.size}, or start fewer processes."
            )
        each = together // self.size
        at_once = next(n for n in range(min(each, max(1, config.batch_size // self.size)), 0, -1) if each % n == 0)
        return replace(config, batch_size=at_once * self.size, accumulate=each // at_once)

    def setup(self, network: Any, average: AveragedModel, optimizer: Any) -> tuple[Any, AveragedModel, Any]:
        """Network and optimizer as Fabric makes them, and the average on the device, whole in every process.

        So the first process can sample with it; it is small beside what training keeps for the backward pass.
        """
        whole = average.to(self.fabric.device)
        if not self._sharded:
            _name_one_layout(network)
            network, optimizer = self.fabric.setup(network, optimizer)
            return network, whole, optimizer
        network = self.fabric.setup_module(network)
        # Sharding has put other parameters in the place of those that the optimizer knew.
        optimizer = type(optimizer)(network.parameters(), **optimizer.defaults)
        return network, whole, self.fabric.setup_optimizers(optimizer)

    def no_sync(self, network: Any, enabled: bool) -> AbstractContextManager[None]:
        """Do not sum gradients over the processes within the block: more parts of the iteration follow."""
        return self.fabric.no_backward_sync(network) if enabled and self.size > 1 else nullcontext()

    def mean_and_stop(self, loss: Tensor, stop: bool) -> tuple[float, bool]:
        """The mean of ``loss`` over all processes, and whether any of them wants to stop; called by all at once."""
        if self.size == 1:
            return float(loss), stop
        both = torch.stack([loss.float(), torch.tensor(float(stop), device=loss.device)])
        mean, stops = self.fabric.all_reduce(both, reduce_op="sum").tolist()  # type: ignore[union-attr]
        return mean / self.size, stops > 0

    def full_state(self, state: TrainingState) -> dict[str, Any]:
        """What one process alone would put into a checkpoint; empty in all but the first. Called by all at once."""
        network = state.network.module
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        tensors, named = cast(Any, get_state_dict(network, state.optimizer.optimizer, options=options))
        if not self.first:
            return {}
        numbers = {name: i for i, (name, _) in enumerate(network.named_parameters())}
        groups = [{**group, "params": [numbers[name] for name in group["params"]]} for group in named["param_groups"]]
        moments = {numbers[name]: values for name, values in named["state"].items()}
        return {
            "network": tensors,
            "average": state.average.state_dict(),
            "optimizer": {"state": dict(sorted(moments.items())), "param_groups": groups},
            "validation": state.validation,
        }

    def load_full_state(self, state: TrainingState, checkpoint: dict[str, Any]) -> None:
        """The inverse of ``full_state``, from the whole checkpoint in every process.

        A fused optimizer takes parameter and moments by their place in memory, whatever layouts they say they have, so
        that moments get the layout of their parameter.
        """
        network, stored = state.network.module, checkpoint["optimizer"]
        names, parameters = zip(*network.named_parameters(), strict=True)
        moments: Any = {
            names[i]: {key: _laid_out(value, parameters[i]) for key, value in values.items()}
            for i, values in stored["state"].items()
        }
        groups: Any = [{**group, "params": [names[i] for i in group["params"]]} for group in stored["param_groups"]]
        set_state_dict(
            network,
            state.optimizer.optimizer,
            model_state_dict=checkpoint["network"],
            optim_state_dict={"state": moments, "param_groups": groups},
            options=StateDictOptions(full_state_dict=True),
        )
        state.average.load_state_dict(checkpoint["average"])
        state.iteration = int(checkpoint["step"])
        state.validation = checkpoint.get("validation")

    def barrier(self) -> None:
        """Wait until all processes are here, for days where it takes so long."""
        if self.size > 1:
            torch.distributed.barrier(self._patient)

    def require_alike(self, what: str, value: Any) -> None:
        """Raise InputError where ``value`` differs among the processes; called by all at once."""
        if self.size == 1:
            return
        values: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(values, value)
        for rank, other in enumerate(values):
            if other != values[0]:
                raise InputError(
                    f"The processes of this training disagree on {what}: the first has {values[0]}, process {rank} has "
                    f"{other}. All of them must see the same run folder and dataset, on a disk that they share."
                )

    @contextmanager
    def together(self) -> Iterator[None]:
        """Within the block, the loss of another process is a MedDDPMError with a sentence.

        Who started the processes (torchrun, srun, Fabric) ends the others where one is lost.
        """
        try:
            yield
        except RuntimeError as exc:  # gloo's have no type of their own
            words = ("gloo", "nccl", "connection", "peer", "socket")
            lost = isinstance(exc, torch.distributed.DistError) or any(word in str(exc).lower() for word in words)
            if self.size == 1 or not lost:
                raise
            raise MedDDPMError(
                f"One of the {self.size} processes of this training was lost: it failed or was killed, or its machine "
                "or network failed. See what it printed. The last checkpoint is kept; start the training again to "
                "resume from it."
            ) from exc


def _laid_out(value: Any, parameter: Tensor) -> Any:
    """A moment in the layout of its parameter; a count of steps as it is."""
    if not isinstance(value, Tensor) or value.shape != parameter.shape:
        return value
    if isinstance(parameter, DTensor):
        return value.contiguous()
    return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)


def _name_one_layout(network: nn.Module) -> None:
    """Give kernels of one voxel, whose layout has several names (strides), the name that their gradients will have.

    DistributedDataParallel compares these, and copies where they differ.
    """
    for parameter in network.parameters():
        if parameter.ndim == 5 and parameter[0, 0].numel() == 1:
            parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)
