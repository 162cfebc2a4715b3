"""Weights and optimizer state divided over processes (FSDP), and whole again for checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim.swa_utils import AveragedModel

from ..network.blocks import Stage
from .state import TrainingState


def shard(network: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Divide the parameters of ``network`` over all processes of ``mesh``, gathered again stage by stage.

    Only the plain layout can be divided; convolutions take weights in any.
    """
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    group = mesh["data_parallel"]
    for module in network.modules():
        if isinstance(module, Stage):
            fully_shard(module, mesh=group)
    fully_shard(network, mesh=group)
    return network


class WholeAverage(AveragedModel):
    """An AveragedModel whose weights stay whole in every process while those of the network are divided.

    So one process alone can sample with it. It is small beside what training keeps for the backward pass.
    """

    def __init__(self, average: AveragedModel) -> None:
        super().__init__(average.module, multi_avg_fn=average.multi_avg_fn)

    def update_parameters(self, model: nn.Module) -> None:
        """Take the weights of ``model`` into the average; called by all processes at once."""
        super().update_parameters(_Whole(model))  # type: ignore[arg-type]


class _Whole:
    """The parameters of a divided module, gathered one after the other, as ``AveragedModel`` wants them."""

    def __init__(self, model: nn.Module) -> None:
        self.parameters: Callable[[], Iterator[Tensor]] = lambda: map(_whole, model.parameters())
        self.buffers = model.buffers


def full_tensors(tree: Any, keep: bool) -> Any:
    """``tree`` (nested dictionaries and lists) with divided tensors whole and all on the CPU.

    Called by all processes at once; where not ``keep``, gathered tensors are dropped again.
    """
    if isinstance(tree, Mapping):
        return {key: full_tensors(value, keep) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [full_tensors(value, keep) for value in tree]
    if not isinstance(tree, Tensor):
        return tree
    whole = _whole(tree)
    return whole.detach().cpu() if keep else None


def divided_like(state: TrainingState, checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """``checkpoint`` with the network's and the optimizer's tensors divided and laid out as those of ``state`` are.

    A fused optimizer takes parameter and moments by their place in memory, whatever layouts they say they have.
    """
    network = state.network.state_dict()
    divided = {name: _like(tensor, network.get(name)) for name, tensor in checkpoint["network"].items()}
    parameters = [p for group in state.optimizer.param_groups for p in group["params"]]
    moments = {
        index: {name: _like(value, parameters[index]) for name, value in values.items()}
        for index, values in checkpoint["optimizer"]["state"].items()
    }
    return {**checkpoint, "network": divided, "optimizer": {**checkpoint["optimizer"], "state": moments}}


def _whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _like(value: Any, other: Tensor | None) -> Any:
    """``value`` divided and laid out like ``other`` where it has its shape; as it is where not (a count of steps)."""
    if not isinstance(value, Tensor) or other is None or value.shape != other.shape:
        return value
    if isinstance(other, DTensor):
        return distribute_tensor(value.to(other.device).contiguous(), other.device_mesh, other.placements)
    return torch.empty_like(other, dtype=value.dtype, requires_grad=False).copy_(value)
