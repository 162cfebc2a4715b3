"""The samples of an evaluation: kept as files, so that it goes on where it was stopped, and workers can share them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from ...dataset import DatasetConfig, read_dataset_config
from ...files import sha256, write_text
from ...geometry.grid import from_network, to_network
from ...geometry.volume import centered_affine
from ...models.model import Model
from ...models.places import find_config
from ...models.registry import load_model
from ...progress import Reporter
from ...sampling.solvers import sampler_and_steps
from ...synthesis.anatomy import with_other_anatomy
from ...synthesis.request import Shard
from ..dataset import PreparedDataset
from ..monitor.samples import (
    RECORD,
    HeldOut,
    as_written,
    draw_sample,
    made_sample,
    read_sample,
    recorded,
    write_case,
)
from .request import EvaluationRequest, chosen_cases, resolution


def sample_share(request: EvaluationRequest, reporter: Reporter, shard: Shard) -> None:
    """Make the samples of a share of the cases, for an ``evaluate`` of the same request to find. Raises as that."""
    config = read_dataset_config(Path(request.dataset))
    ids = chosen_cases(request, find_config(request.model), config)
    Samples(request, reporter, ids[shard[0] :: shard[1]]).sample_all()


class Samples:
    """Those of ``ids``. ``indices``: of these cases in ``data``; ``sampler`` and ``steps`` as they are taken."""

    def __init__(self, request: EvaluationRequest, reporter: Reporter, ids: list[str]) -> None:
        self._request, self._reporter, self._done = request, reporter, 0
        self.data = PreparedDataset(Path(request.dataset), request.split)
        self.indices = [i for i, case in enumerate(self.data.cases) if case.id in ids]
        self.model: Model = load_model(request.model, request.device, request.precision)
        self._resolution = resolution(self.model.config.grid, self.data.config.grid)
        self.sampler, self.steps = sampler_and_steps(self.model.config, request.sampler, request.steps)

    def folder(self, case: str, k: int) -> PurePosixPath:
        return PurePosixPath("cases", case, f"sample-{k + 1:02d}")

    def masked(self, case: HeldOut, k: int) -> HeldOut:
        """The case as its k-th sample is to be made: its anatomy may be another one."""
        if self._request.anatomy != "seed":
            return case
        seed = self._request.seed + k
        return replace(case, fractions=with_bank_anatomy(case.fractions, self.data.config, seed))

    def sample_all(self) -> None:
        """Make all samples, and no more."""
        self._reporter.stage("sample", "Sampling the masks")
        for i in self.indices:
            for k in range(self._request.samples):
                self.sample(self.masked(HeldOut.of(self.data, i), k), k)

    def sample(self, case: HeldOut, k: int) -> Tensor:
        """The k-th sample of a case as written, (C, D, H, W): from its files, or made now."""
        request, model = self._request, self.model
        folder, seed = Path(request.out) / self.folder(case.id, k), request.seed + k
        facts = {  # everything that a sample depends on
            "weights_sha256": model.weights_hash,
            "case_sha256": sha256(self.data.folder / "cases" / f"{case.id}.safetensors"),
            "sampler": self.sampler,
            "steps": self.steps,
            "seed": seed,
            "guidance": request.guidance,
            "anatomy": request.anatomy,
            "contrast": request.contrast,
            "precision": str(model.dtype),
        }
        made = read_sample(folder, self.model.config.modalities, case.real) if recorded(folder) == facts else None
        if made is None:
            (folder / RECORD).unlink(missing_ok=True)
            look = model.look() if request.contrast == "mean" else None  # None: drawn from the seed
            if request.contrast == "real":
                look = model.measured_look(case.real, case.fractions)
            made = draw_sample(
                model,
                self._resolution.to_model(case.fractions),
                self.sampler,
                self.steps,
                seed,
                self._reporter.check_cancelled,
                guidance=request.guidance,
                look=look,
            )
            made = self._resolution.to_dataset(made)
            title = f"{self.model.config.name} | {case.id} | seed {seed}, {self.sampler}, {self.steps} steps"
            write_case(folder, case, made, replace(self.model.config, grid=self.data.config.grid), title)
            write_text(folder / RECORD, json.dumps(facts, indent=1) + "\n")
            made = as_written(made)
        self._done += 1
        self._reporter.step(self._done, len(self.indices) * request.samples)
        return made

    def again(self, n: int, k: int) -> Tensor:
        """The k-th sample of the n-th case from its files."""
        self._reporter.check_cancelled()
        i = self.indices[n]
        folder = Path(self._request.out) / self.folder(self.data.cases[i].id, k)
        return made_sample(folder, self.model.config.modalities, self.data[i][0])


def with_bank_anatomy(fractions: Tensor, dataset: DatasetConfig, seed: int) -> Tensor:
    """Label fractions (L, D, H, W) of a case of ``dataset`` with its tumor and outline, and an anatomy from the bank.

    Raises InputError as ``complete_anatomy``.
    """
    grid = dataset.grid
    affine = centered_affine(grid.shape, grid.spacing, grid.orientation)
    other = with_other_anatomy(from_network(fractions.numpy()), dataset.scheme, affine, seed)
    return torch.from_numpy(to_network(other))
