"""The hook that watches a training: validation, samples, figures and verdicts, on fixed noise and fixed masks."""

from __future__ import annotations

import importlib.util
import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from ...errors import Cancelled, MedDDPMError
from ...jobs.outcome import outcome_of
from ..dataset import PreparedDataset
from ..hooks import Context, Iteration
from ..metrics import MetricsLog, valid
from ..objective import Validation, mean_loss
from .loss_chart import NAME, draw_loss
from .samples import SampleRound, spread
from .verdict import judge

log = logging.getLogger(__name__)
PATIENCE_SECONDS = 120.0  # of training before the share of the monitor is spoken of
CHART_SHARE = 0.02  # of the time at most goes into the loss chart
HISTORY_BYTES = 32 * 1024 * 1024  # of metrics that a verdict looks at: some 300,000 lines


class Monitor:
    """Watches a run from its first process; a ``Hook``.

    Every ``validate_every`` iterations the loss of the averaged weights on the held-out cases, every ``sample_every``
    samples of held-out masks with their figures, and after either a verdict: as lines of ``metrics.jsonl``, for
    TensorBoard, and through the reporter when it changes. The loss is also drawn, as ``loss.png``. Nothing of the
    training is touched but ``state.validation``, and no number is drawn from its random state, so that a run is the
    same with and without. What fails here is told as a warning and tried again next time; it never ends the training.
    Cancelled passes.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._options = context.config.monitor
        self._active = context.fabric.is_global_zero
        self._metrics = MetricsLog(context.folder)
        self._held_out: PreparedDataset | None = None
        self._validation: Validation | None = None
        self._round: SampleRound | None = None
        self._board: Any = None
        self._since: list[Iteration] = []
        self._kind = ""
        self._began, self._spent = time.monotonic(), 0.0
        self._draw_at = 0.0
        self._told: set[str] = set()
        self._cost_told = False
        if self._active:
            self._open(context.state.iteration)

    def after_iteration(self, done: Iteration) -> None:
        """See Hook."""
        if not self._active:
            return
        self._since.append(done)
        if done.due(self._options.log_every):
            self._log(done)
        validate, sample = done.due(self._options.validate_every), done.due(self._options.sample_every)
        if validate or sample:
            self._look(done.number, validate, sample)
        if done.due(self._options.log_every) and time.monotonic() >= self._draw_at:
            self._draw()

    def _log(self, done: Iteration) -> None:
        """A line with the means since the last one."""
        count = len(self._since)
        loss, seconds = (sum(getattr(i, name) for i in self._since) / count for name in ("loss", "seconds"))
        self._metrics.append("train", done.number, loss=loss, lr=done.lr, seconds_per_iteration=seconds)
        self._figures(done.number, {"loss/train": done.loss, "learning rate": done.lr})
        self._since = []

    def _look(self, iteration: int, validate: bool, sample: bool) -> None:
        started, most = time.monotonic(), self._options.max_share
        if validate and self._held_out is not None:
            self._try("The validation", lambda: self._validate(iteration))
        if sample and self._held_out is not None:
            self._try("The sampling of held-out masks", lambda: self._sample(iteration))
        self._try("The verdict", lambda: self._judge(iteration))
        self._context.reporter.stage("train", "Training")
        now = time.monotonic()
        self._spent += now - started
        share = self._spent / max(1e-9, now - self._began)
        # Once: the share changes with every round, and so would the sentence.
        if share > most and now - self._began >= PATIENCE_SECONDS and not self._cost_told:
            self._cost_told = True
            self._tell(
                f"Validation and samples take {share:.0%} of the time; monitor.max_share asks for at most {most:.0%}. "
                "Raise monitor.validate_every or sample_every, or lower validation_cases or samples."
            )

    def _draw(self) -> None:
        """The loss chart, anew; that of a long run takes so long that it is not drawn at every line of the log."""
        started, path = time.monotonic(), self._context.folder / NAME
        history = valid(self._metrics.tail(HISTORY_BYTES))
        self._try("The loss chart", lambda: draw_loss(history, path, self._context.config.name))
        self._draw_at = time.monotonic() + (time.monotonic() - started) / CHART_SHARE

    def close(self) -> None:
        """See Hook."""
        if self._active:
            self._draw()
        if self._board is not None:
            self._board.close()
            self._board = None

    def _open(self, iteration: int) -> None:
        """What is needed to watch a run of which ``iteration`` iterations are there already."""
        self._kind = str(self._metrics.latest(("verdict",)).get("verdict", {}).get("verdict", ""))
        if self._options.tensorboard:
            self._try("TensorBoard", lambda: self._open_board(iteration))
        if self._options.validate_every or self._options.sample_every:
            self._try("The reading of the held-out cases", self._open_held_out)

    def _open_board(self, iteration: int) -> None:
        if importlib.util.find_spec("tensorboard") is None:
            self._tell(
                'TensorBoard is not installed, so nothing is written for it. Install it: pip install "tensorboard"'
            )
            return
        from torch.utils.tensorboard import SummaryWriter

        # What a killed run wrote beyond this iteration is hidden.
        self._board = SummaryWriter(log_dir=str(self._context.folder / "tensorboard"), purge_step=iteration + 1)

    def _open_held_out(self) -> None:
        split, train = self._options.split, self._context.dataset
        if not any(case.split == split for case in train.config.cases):
            self._tell(
                f"The dataset has no case in the split '{split}', so only the training loss can be judged. Prepare the "
                "dataset with validation cases, or set monitor.split."
            )
            return
        self._held_out = held_out = PreparedDataset(train.folder, split)
        chosen = spread(len(held_out), self._options.validation_cases)
        self._validation = Validation(
            len(chosen),
            lambda i: held_out[chosen[i]],
            self._context.objective,
            self._options.bands,
            self._context.config.seed,
        )
        self._round = SampleRound(self._context, held_out)

    def _validate(self, iteration: int) -> None:
        context = self._context
        assert self._validation is not None
        context.reporter.stage("validate", "Validating")
        found = self._validation(
            context.state.average.module,
            context.fabric.device,
            context.fabric.autocast,
            context.reporter.check_cancelled,
        )
        loss = mean_loss(found)
        context.state.validation = loss if math.isfinite(loss) else None
        bands = [{"low": band.low, "high": band.high, "loss": band.loss} for band in found]
        self._metrics.append("validation", iteration, loss=loss, bands=bands)
        by_band = {f"loss/validation, noise levels {band.low} to {band.high}": band.loss for band in found}
        self._figures(iteration, {"loss/validation": loss, **by_band})

    def _sample(self, iteration: int) -> None:
        assert self._round is not None
        self._context.reporter.stage("sample", "Sampling held-out masks")
        for found, sheet in self._round(iteration, self._context.reporter.check_cancelled):
            self._metrics.append("quality", iteration, **found)
            figures = {name: found[name] for name in ("ms_ssim", "psnr", "l1", "sharpness", "label_error")}
            if "nearest_training" in found:
                figures["nearest training"] = found["nearest_training"]["similarity"]
            self._figures(iteration, {f"quality/{name}/{found['case']}": value for name, value in figures.items()})
            if self._board is not None:
                self._board.add_image(f"samples/{found['case']}", sheet, iteration, dataformats="HWC")

    def _judge(self, iteration: int) -> None:
        verdict = judge(valid(self._metrics.tail(HISTORY_BYTES)))
        self._metrics.append("verdict", iteration, verdict=verdict.kind, sentence=verdict.sentence)
        if verdict.kind == self._kind:
            return
        self._kind = verdict.kind
        self._context.reporter.verdict(verdict.kind, verdict.sentence)
        if self._board is not None:
            self._board.add_text("verdict", f"{verdict.kind}: {verdict.sentence}", iteration)

    def _figures(self, iteration: int, values: Mapping[str, float | None]) -> None:
        for name, value in values.items() if self._board is not None else ():
            if value is not None:
                self._board.add_scalar(name, value, iteration)

    def _try(self, what: str, action: Callable[[], None]) -> None:
        """Do it; a failure becomes a warning (each sentence once), since watching must not cost the training."""
        try:
            action()
        except (Cancelled, KeyboardInterrupt):
            raise
        except Exception as exc:
            log.error(f"{what} failed", exc_info=not isinstance(exc, MedDDPMError))
            self._tell(f"{what} failed; the training continues. {outcome_of(exc).message}")
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _tell(self, sentence: str) -> None:
        if sentence not in self._told:
            self._told.add(sentence)
            self._context.reporter.warning(sentence)
