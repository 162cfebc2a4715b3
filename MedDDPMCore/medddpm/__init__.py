"""Med-DDPM: realistic 3D brain MRI from a painted segmentation, with a conditional diffusion model."""

__version__ = "0.1.0"
