"""Med-DDPM: realistic 3D brain MRI from a painted segmentation, with a conditional diffusion model.

``load_model``, ``sample`` and ``synthesize`` are the library's front door; they are imported when first used, so that
programs which only watch jobs need not load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .models.registry import load_model as load_model
    from .sampling.sample import sample as sample
    from .synthesis.pipeline import synthesize as synthesize

__version__ = "0.1.0"
__all__ = ["__version__", "load_model", "sample", "synthesize"]

_HOMES = {"load_model": ".models.registry", "sample": ".sampling.sample", "synthesize": ".synthesis.pipeline"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module 'medddpm' has no attribute '{name}'")
