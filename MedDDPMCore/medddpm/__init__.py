"""Med-DDPM: realistic 3D brain MRI from a painted segmentation, with a conditional diffusion model.

The functions below are imported when first used, so that programs which only watch jobs need not load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .api import Case as Case
    from .api import check_mask as check_mask
    from .api import edit as edit
    from .api import fix_mask as fix_mask
    from .api import load_mask as load_mask
    from .api import new_lesion as new_lesion
    from .api import synthesize as synthesize
    from .learning import evaluate as evaluate
    from .learning import prepare as prepare
    from .learning import train as train
    from .models.places import list_models as list_models
    from .models.registry import load_model as load_model
    from .sampling.sample import sample as sample

_HOMES = dict.fromkeys(("Case", "check_mask", "edit", "fix_mask", "load_mask", "new_lesion", "synthesize"), ".api")
_HOMES |= dict.fromkeys(("evaluate", "prepare", "train"), ".learning")
_HOMES |= {"list_models": ".models.places", "load_model": ".models.registry", "sample": ".sampling.sample"}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module 'medddpm' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
