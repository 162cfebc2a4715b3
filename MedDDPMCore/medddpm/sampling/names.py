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

SAMPLER_HELP = "Sampler: the method that turns noise into an image, step by step. Default: the model's own."
STEPS_HELP = "Number of sampling steps: more take proportionally longer and may look better. Default: the model's own."
GUIDANCE_HELP = (
    "Guidance scale, for models trained with mask_dropout: 1 is no guidance; above 1 the images follow the mask more "
    "strictly, with less variety. Any value but 1 takes twice the time."
)
DEVICE_HELP = "Device: a GPU where one can be used (auto), or a particular one (cuda:1)."
PRECISION_HELP = "Precision of the computation; bf16 and fp16 need about half the memory."
