"""The whole way of a batch: masks in, folders of images out."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import InputError
from ..files import make_folder
from ..geometry.io import read_mask
from ..geometry.volume import Mask
from ..labels.conventions import labels_text
from ..labels.recognize import recognize
from ..labels.scheme import LabelScheme
from ..labels.together import recognize_together
from ..models.model import Model
from ..models.registry import load_model
from ..progress import Reporter
from .batch import Batch, OnPlaced
from .names import case_names
from .request import UNVERIFIED, WHOLE, Shard, SynthesisRequest
from .results import CaseResult
from .verify import write_table


def run(request: SynthesisRequest, out: Path, reporter: Reporter, shard: Shard | None = None) -> list[CaseResult]:
    """Synthesize images for the masks of ``request`` and write them below ``out``.

    For each mask a folder with one NIfTI a sample and modality on the mask's own grid, the same under ``model-grid/``
    on the model's, the mask used, a contact sheet a sample, and ``provenance.json``. A mask that cannot be used does
    not stop the others: look at the ``state`` of the results. What is there already from the same request is not
    computed again; what is there from another one for a mask of the same name is replaced. ``shard``: only these of
    the masks, for one of several workers, which were told what the masks' values mean if they are to be read together.
    Raises InputError where nothing can be done at all.
    """
    make_folder(out)  # now: nobody should wait for a model to learn that it cannot be written
    if not os.access(out, os.W_OK | os.X_OK):
        raise InputError(f"You do not have permission to write to the folder {out}. Choose another folder.")
    if request.on:
        from .elsewhere import run_on

        return run_on(request, out, reporter)
    reporter.stage("load", "Loading the model")
    loaded = load_model(request.model, request.device, request.precision)
    reporter.check_cancelled()
    return run_batch(request, loaded, out, reporter, shard=shard)


def run_batch(
    request: SynthesisRequest,
    model: Model,
    out: Path,
    reporter: Reporter,
    on_placed: OnPlaced | None = None,
    shard: Shard | None = None,
) -> list[CaseResult]:
    """``run`` with the model already loaded; ``on_placed`` learns where each case lies before it is sampled."""
    request = replace(request, modalities=_known_modalities(request.modalities, model))
    if request.labels is None and shard is None:
        request = replace(request, labels=labels_together(request.masks, model.config.scheme, reporter))
    batch = Batch(request, model, reporter, on_placed)
    names = case_names([Path(mask) for mask in request.masks])
    first, step = shard or WHOLE
    plans = [batch.plan(number, out / names[number]) for number in range(first, len(names), step)]
    batch.announce(plans)
    results = []
    for plan in plans:
        reporter.check_cancelled()
        results.append(batch.attempt(plan))
    if request.verify != UNVERIFIED:
        write_table(out, [result.folder for result in results])
    return results


def labels_together(masks: Sequence[str], scheme: LabelScheme, reporter: Reporter) -> str | None:
    """What the values of all masks mean ("1=2,2=1,3=3") where a mask by itself would be read otherwise, or not at all.

    None leaves it to each mask. What cannot be read is told when its turn comes.
    """
    if len(masks) < 2:
        return None
    alone = []

    def readable() -> Iterator[Mask]:
        for path in masks:
            reporter.check_cancelled()
            with contextlib.suppress(InputError):
                mask = read_mask(Path(path))
                alone.append(recognize(mask, scheme))
                yield mask

    found = recognize_together(readable(), scheme)
    if found is None or found.question:
        return None
    if all(not one.question and one.mapping.items() <= found.mapping.items() for one in alone):
        return None
    reporter.warning(f"The masks are read alike. {found.reading}")
    return labels_text(found.mapping)


def _known_modalities(wanted: tuple[str, ...], model: Model) -> tuple[str, ...]:
    """The wanted names as the model spells them, in the model's order, without repetitions."""
    made = {name.casefold(): name for name in model.config.modalities}
    for name in wanted:
        if name.casefold() not in made:
            raise InputError(f"The model '{model.config.name}' makes no {name}; it makes {', '.join(made.values())}.")
    chosen = {name.casefold() for name in wanted}
    return tuple(name for folded, name in made.items() if folded in chosen)
