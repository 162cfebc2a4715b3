"""Tools that move, reshape and create tumors inside a mask; functions on label arrays."""

from .edit import grow_tumor, mirror_tumor, transform_tumor
from .generators import growth_series, scale_series, shift_series
from .lesions import LesionResult, LesionSpec, add_lesion
from .stack import Edit

__all__ = [
    "Edit",
    "LesionResult",
    "LesionSpec",
    "add_lesion",
    "grow_tumor",
    "growth_series",
    "mirror_tumor",
    "scale_series",
    "shift_series",
    "transform_tumor",
]
