"""How much of an evaluation its convolutions take: what no other choice than another convolution could save."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch
from medddpm.memory import keep_freed_memory
from medddpm.network.cost import network_cost
from torch import nn

from .common import Table, in_fresh_process
from .networks import FAST, PLAIN, Variant, condition, config_named, draw, evaluator, reference_network


@dataclass(frozen=True)
class Share:
    """CPU seconds of an evaluation, and of the convolutions within it."""

    convolutions: float
    evaluation: float


class ConvolutionClock:
    """Adds up the CPU seconds between the begin and the end of every convolution of ``network``."""

    def __init__(self, network: nn.Module) -> None:
        self.seconds, self._begun = 0.0, 0.0
        for module in network.modules():
            if isinstance(module, nn.Conv3d):
                module.register_forward_pre_hook(self._begin)
                module.register_forward_hook(self._end)

    def _begin(self, *_: object) -> None:
        self._begun = time.process_time()

    def _end(self, *_: object) -> None:
        self.seconds += time.process_time() - self._begun


def measure_shares(variant: Variant, name: str, side: int, repeats: int, threads: int) -> list[Share]:
    """Evaluations in this process; call it in a fresh one."""
    if threads:
        torch.set_num_threads(threads)
    if variant.keep_memory:
        keep_freed_memory()
    config, shape = config_named(name), (side,) * 3
    network = reference_network(config.network)
    clock = ConvolutionClock(network)
    evaluate = evaluator(variant, config, torch.device("cpu"), network)
    x, mask = draw("benchmark/x", (1, config.network.image_channels, *shape)), condition(config, shape)
    found = []
    for _ in range(repeats + 1):
        clock.seconds, begun = 0.0, time.process_time()
        evaluate(x, mask, torch.tensor([0]))
        found.append(Share(clock.seconds, time.process_time() - begun))
    return found[1:]  # the first is the warm-up: libraries choose their algorithms there


def convolution_table(name: str, side: int, repeats: int, threads: int) -> Table:
    """The plain and the fast path: the time of their convolutions, and what is left."""
    operations = network_cost(config_named(name).network, (side,) * 3).flops
    rows, plain = [], 0.0
    for variant in (PLAIN, FAST):
        shares = in_fresh_process(measure_shares, variant, name, side, repeats, threads)
        convolutions = statistics.median(s.convolutions for s in shares)
        evaluation = statistics.median(s.evaluation for s in shares)
        plain = plain or evaluation
        rate = operations / convolutions / 1e9
        rows.append(
            (variant.name, evaluation, convolutions, 100 * convolutions / evaluation, rate, plain / convolutions)
        )
    title = f"Where an evaluation's time goes: {operations / 1e9:.0f} billion operations in convolutions at {side}^3"
    columns = (
        "path",
        "CPU s",
        "CPU s in convolutions",
        "share %",
        "billion operations per CPU s",
        "plain path / these convolutions alone",
    )
    return Table(title, columns, tuple(rows))
