"""Names and limits that requests, the command line and Slicer share; without torch."""

from .. import plugins

SAMPLERS = plugins.names("samplers", ("dpm++2m", "dpm++3m", "unipc", "ddim", "ddpm", "ddpm-paper"))
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
MAX_SEED = 2**63 - 1
MAX_GUIDANCE = 20.0

SAMPLER_HELP = "What turns noise into an image. Left out: what suits the model."
STEPS_HELP = "Sampling steps: more take longer and may look better. Left out: what suits the model."
GUIDANCE_HELP = (
    "How strongly the mask guides, for models that were trained for it: 1 is plain; more follows the mask more "
    "strictly, with less variety, and takes twice the time."
)
DEVICE_HELP = "Where to compute: auto, cpu, cuda (NVIDIA card), cuda:1 (the second one) or mps (Apple)."
PRECISION_HELP = "Number format; bf16 and fp16 need half of the memory."
