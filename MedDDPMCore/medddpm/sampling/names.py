"""Names and limits that requests, the command line and Slicer share; without torch."""

from .. import plugins

_TITLES = {
    "dpm++2m": "DPM-Solver++ 2M",
    "dpm++3m": "DPM-Solver++ 3M",
    "unipc": "UniPC",
    "ddim": "DDIM",
    "ddpm": "DDPM (all steps)",
    "ddpm-paper": "DDPM as published",
}
SAMPLERS = {name: _TITLES.get(name, name) for name in plugins.names("samplers", tuple(_TITLES))}
DEVICES = {"auto": "Automatic", "cpu": "CPU", "cuda": "NVIDIA GPU", "mps": "Apple GPU"}
PRECISIONS = {
    "auto": "Automatic",
    "fp32": "Single (32 bit)",
    "bf16": "Half (bfloat16)",
    "fp16": "Half (float16)",
}
MAX_SEED = 2**63 - 1
MAX_GUIDANCE = 20.0

SAMPLER_HELP = "Method that turns noise into an image, step by step. Left out: the model's own."
STEPS_HELP = "Number of sampling steps: more take proportionally longer and may look better. Left out: the model's own."
GUIDANCE_HELP = (
    "How strongly the mask guides the images, for models trained with masks left out: 1 is plain; more follows the "
    "mask more strictly, with less variety. Any value but 1 takes twice the time."
)
DEVICE_HELP = "Where to compute: a GPU where one can be used (auto), or a particular one (cuda:1)."
PRECISION_HELP = "Number format of the computation; bf16 and fp16 need about half the memory."
