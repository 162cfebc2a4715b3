"""All commands of ``medddpm``, for its help: each module adds its own to ``app``."""

from . import check, evaluate, masks, models, prepare, release, runs, study, synth, tissues, train, worker  # noqa: F401
from .root import app

__all__ = ["app"]
