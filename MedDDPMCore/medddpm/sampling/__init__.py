"""Noise schedule, reproducible noise and the samplers."""
