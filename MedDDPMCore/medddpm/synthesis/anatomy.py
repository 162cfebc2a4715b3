"""The anatomy and the contrast of a case: what a mask of tumor and brain leaves open, and who decides it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..anatomy.brain_maps import BRAIN, TISSUES, nearest_tissue
from ..config import ModelConfig
from ..errors import InputError
from ..geometry.grid import labels_from_fractions, labels_from_grid, to_network
from ..geometry.io import content_hash, read_mask, read_volume
from ..geometry.resample import index_map, resample
from ..geometry.volume import Volume
from ..labels.conventions import outline_kind
from ..labels.placed import encode_condition
from ..labels.scheme import LabelScheme
from ..models.model import Model
from ..network.appearance import Look
from .case import PreparedCase, require_covered
from .request import ANATOMIES, SynthesisRequest, modality_files

# Correlation of the tissues' mean intensities with those of another modality in the training cases, and its lead over
# that of the modality that an image is said to be, from which on it is more likely that one.
LIKE, UNLIKE = 0.8, 0.6


@dataclass(frozen=True)
class SampleAnatomy:
    """What one sample is made from.

    ``condition``: (1, L, D, H, W) float32. ``labels``: the completed label map on the mask's grid, ``grid_labels`` on
    the model's; None for models without tissues. ``look``: the contrast, None for one drawn from the seed.
    """

    condition: torch.Tensor
    labels: Volume | None = None
    grid_labels: Volume | None = None
    look: Look | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    sentences: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reference:
    """A reference scan: images by modality, in the model's spelling."""

    images: Mapping[str, Path]

    @classmethod
    def of(cls, request: SynthesisRequest, config: ModelConfig) -> Reference | None:
        """The reference that ``request`` names, or else the real scan that is edited; None without either.

        Raises InputError for a modality that the model does not make.
        """
        given = modality_files(request.reference or request.context)
        names = {name.casefold(): name for name in config.modalities}
        for name in given:
            if name.casefold() not in names:
                made = ", ".join(config.modalities)
                raise InputError(f"There is a reference image for {name}, but the model '{config.name}' makes {made}.")
        images = {names[name.casefold()]: Path(path) for name, path in given.items()}
        return cls(images) if images else None

    def segmented(self, case: PreparedCase, model: Model, changed: np.ndarray) -> _Scan:
        """Tissues and contrast of the scan on the model's grid.

        Raises InputError for an image of another place, or of another modality than said.
        """
        from ..anatomy.tissues import segment_tissues
        from ..geometry.intensity import intensity_rule

        config = model.config
        outline = case.fractions.sum(axis=0) > 0
        rows = [config.scheme.values.index(value) for value in config.scheme.tumor_values]
        tumor = (case.fractions[rows].sum(axis=0) > 0) | changed
        rule = intensity_rule(config.normalization)
        scaled: dict[str, np.ndarray] = {}
        for name, path in self.images.items():
            volume = read_volume(path)
            advice = "Register it to the mask, or choose another one."
            require_covered(f"The reference image {path}", volume, case.labels, advice)
            head = resample(volume.data, index_map(case.labels.affine, volume.affine), case.labels.shape, 0.0)
            scaled[name] = rule.to_grid(
                volume, head[case.labels.data > 0], case.placement, config.background, str(path)
            )[0]
        images = np.stack([scaled.get(name, np.full(outline.shape, np.nan, np.float32)) for name in config.modalities])
        on_network = torch.from_numpy(to_network(images))
        self._require_likely(on_network, case, model)
        volumes = {name: Volume(image, case.grid_labels.affine) for name, image in scaled.items()}
        found = segment_tissues(volumes, outline, tumor)
        fractions = np.zeros_like(case.fractions)
        for value, share in zip(TISSUES, found.fractions, strict=True):
            fractions[config.scheme.values.index(value)] = share
        lesion = case.fractions[rows] * ~changed
        fractions[rows] = lesion
        look = model.measured_look(on_network, torch.from_numpy(to_network(fractions)))
        return _Scan(found.fractions, look, found.sentences)

    def _require_likely(self, images: torch.Tensor, case: PreparedCase, model: Model) -> None:
        """Raise InputError where an image has the contrast of another modality, by where tissues usually are.

        Tissues segmented in the image would not tell: what is bright in it would be taken for what should be.
        """
        from ..anatomy.completion import complete_anatomy

        typical = model.look()
        assert typical is not None
        usual = complete_anatomy(case.grid_labels, 0, mass_effect=0.0).fractions
        look = model.measured_look(images, torch.from_numpy(to_network(usual)))
        names, rows = model.config.modalities, [model.config.scheme.values.index(value) for value in TISSUES]
        for name in self.images:
            column = look.means[rows, names.index(name)]
            known = column.isfinite()
            fits = [
                float(torch.corrcoef(torch.stack([column[known], typical.means[rows, i][known]]))[0, 1])
                for i in range(len(names))
            ]
            best = int(np.argmax(fits))
            if fits[best] > LIKE and fits[best] - fits[names.index(name)] > UNLIKE:
                raise InputError(
                    f"The image {self.images[name]} is given as {name}, but has the contrast of {names[best]}: fluid, "
                    "gray and white matter are as bright as there. Name its modality."
                )


def anatomy_facts(request: SynthesisRequest, config: ModelConfig) -> dict[str, Any]:
    """What anatomy and contrast of a case depend on, for its fingerprint; nothing for models that are told no tissues.

    Raises InputError where such a model is asked for them, or a file cannot be read.
    """
    asked = request.anatomy != "seed" or request.contrast != "seed" or request.reference
    if not config.scheme.tissue_values:
        if asked:
            raise InputError(
                f"The model '{config.name}' has labels for tumor and {outline_kind(config.scheme)} only, so anatomy "
                "and contrast cannot be chosen. Leave the choice out, or use a model with tissue labels."
            )
        return {}
    reference = Reference.of(request, config)
    images = {} if reference is None else {name: content_hash(path) for name, path in reference.images.items()}
    return {
        "anatomy": request.anatomy if request.anatomy in ANATOMIES else content_hash(Path(request.anatomy)),
        "mass_effect": request.mass_effect,
        "contrast": request.contrast,
        "reference_sha256": images,
    }


class CaseAnatomy:
    """The anatomy of one case, sample by sample.

    ``changed``: (X, Y, Z) bool on the model's grid, where a reference scan is not to be trusted: the region of a local
    edit. Raises InputError where a reference image or label map cannot be used.
    """

    def __init__(
        self, request: SynthesisRequest, case: PreparedCase, model: Model, changed: np.ndarray | None = None
    ) -> None:
        self._request, self._case, self._model, self._config = request, case, model, model.config
        self._changed = np.zeros(case.grid_labels.shape, bool) if changed is None else changed
        self._reference = Reference.of(request, model.config)
        self._kept: SampleAnatomy | None = None

    def sample(self, seed: int) -> SampleAnatomy:
        """What the sample with this seed is made from; one for all samples where nothing is left to chance."""
        if not self._config.scheme.tissue_values:
            return SampleAnatomy(self._case.condition)
        if self._kept is not None:
            return self._kept
        made = self._completed(seed)
        if made.facts["map"] is None:
            self._kept = made
        return made

    def _completed(self, seed: int) -> SampleAnatomy:
        from ..anatomy.completion import complete_anatomy  # only models with tissue labels get here

        case, request = self._case, self._request
        labels, scan = case.grid_labels, self._scan
        if scan is not None:
            labels = Volume(self._with_tissues(scan.tissues), labels.affine)
        source = read_mask(Path(request.anatomy)).volume if request.anatomy not in ANATOMIES else None
        made = complete_anatomy(labels, seed, mass_effect=request.mass_effect, source=source)
        fractions = self._composed(made.fractions)
        on_grid = self._labels(fractions)
        return SampleAnatomy(
            condition=torch.from_numpy(encode_condition(fractions, self._config))[None],
            labels=_on_mask(case, on_grid),
            grid_labels=Volume(on_grid, case.grid_labels.affine),
            look=self._look(),
            facts=made.facts,
            sentences=(*(() if scan is None else scan.sentences), *made.sentences),
        )

    def _labels(self, fractions: np.ndarray) -> np.ndarray:
        """The label map of what is told to the network: the mask's tumor, elsewhere what covers most of a voxel."""
        labels, scheme = self._case.grid_labels.data, self._config.scheme
        tissues = [scheme.values.index(value) for value in TISSUES]
        most = np.array(TISSUES, np.uint8)[fractions[tissues].argmax(axis=0)]
        return np.where(np.isin(labels, (0, *scheme.tumor_values)), labels, most)

    def _look(self) -> Look | None:
        """The contrast: the mean one, that of the reference, or None for one drawn from the seed."""
        wanted = self._request.contrast
        if wanted == "mean":
            return self._model.look()
        if wanted == "seed" and not self._request.context:
            return None
        if self._measured is None:
            raise InputError("The contrast is 'reference', but there is no reference scan. Name its images.")
        return self._measured

    @cached_property
    def _scan(self) -> _Scan | None:
        """The reference's tissues, where the anatomy is to be its own."""
        own = self._request.anatomy == "reference" or (self._request.anatomy == "seed" and bool(self._request.context))
        if own and self._reference is None:
            raise InputError("The anatomy is 'reference', but there is no reference scan. Name its images.")
        return self._segmented if own else None

    @cached_property
    def _segmented(self) -> _Scan:
        assert self._reference is not None
        return self._reference.segmented(self._case, self._model, self._changed)

    @cached_property
    def _measured(self) -> Look | None:
        return None if self._reference is None else self._segmented.look

    def _with_tissues(self, tissues: np.ndarray) -> np.ndarray:
        """The mask's labels with the reference's tissues in place of the surround, where they are to be trusted."""
        labels = self._case.grid_labels.data.copy()
        open_voxels = (labels == self._config.scheme.surround) & ~self._changed & (tissues.sum(axis=0) > 0.5)
        labels[open_voxels] = np.array(TISSUES, np.uint8)[tissues.argmax(axis=0)[open_voxels]]
        return labels

    def _composed(self, completed: np.ndarray) -> np.ndarray:
        """Fractions of the model's labels: tumor as it was placed, around it tissues, those of a reference as found."""
        scheme, placed = self._config.scheme, self._case.fractions
        tissues = completed[[scheme.values.index(value) for value in TISSUES]]
        if self._scan is not None:
            own = ~self._changed & (self._scan.tissues.sum(axis=0) > 0.5) & (placed.sum(axis=0) > 0)
            tissues[:, own] = self._scan.tissues[:, own]
        return around_tumor(placed, tissues, scheme)


def _on_mask(case: PreparedCase, on_grid: np.ndarray) -> Volume:
    """A completed label map of the model's grid on that of the mask, whose own tumor and tissues stay as they are."""
    own = case.labels.data
    found = labels_from_grid(on_grid, case.placement)
    labels = np.where(own == BRAIN, found, own)
    stray = (own == BRAIN) & (found < BRAIN)  # where the two grids differ: tumor, or nothing
    return Volume(nearest_tissue(labels, stray, case.labels.spacing) if stray.any() else labels, case.labels.affine)


@dataclass(frozen=True)
class _Scan:
    """What a reference scan shows: tissue fractions (8, X, Y, Z) on the model's grid, and its contrast."""

    tissues: np.ndarray
    look: Look
    sentences: tuple[str, ...]


def around_tumor(placed: np.ndarray, tissues: np.ndarray, scheme: LabelScheme) -> np.ndarray:
    """Fractions (L, X, Y, Z): tumor as in ``placed``, of the same shape, and around it ``tissues`` (8, X, Y, Z).

    These share what the tumor leaves of the outline; where there are none, it is the surround.
    """
    fractions = placed.copy()
    tumor = [scheme.values.index(value) for value in scheme.tumor_values]
    free = np.clip(placed.sum(axis=0), 0, 1) - placed[tumor].sum(axis=0)
    total = tissues.sum(axis=0)
    share = np.where(total > 0, free / np.maximum(total, 1e-6), 0)
    for value, tissue in zip(TISSUES, tissues, strict=True):
        np.multiply(tissue, share, out=fractions[scheme.values.index(value)])
    fractions[scheme.values.index(scheme.surround)] += np.where(total > 0, 0, free)
    return fractions


def with_other_anatomy(fractions: np.ndarray, scheme: LabelScheme, affine: np.ndarray, seed: int) -> np.ndarray:
    """Label fractions (L, X, Y, Z) with the tumor and the outline of ``fractions`` and an anatomy from the bank.

    ``affine``: voxel index -> RAS mm. Raises InputError as ``complete_anatomy``.
    """
    from ..anatomy.completion import complete_anatomy

    tissues = [scheme.values.index(value) for value in TISSUES]
    placed = fractions.copy()
    placed[tissues] = 0
    placed[scheme.values.index(scheme.surround)] = fractions[tissues].sum(axis=0)
    labels = labels_from_fractions(placed, scheme.values)
    return around_tumor(placed, complete_anatomy(Volume(labels, affine), seed).fractions[tissues], scheme)
