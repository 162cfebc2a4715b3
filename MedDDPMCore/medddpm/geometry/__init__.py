"""Volumes with their place in space: files, grids and resampling."""
