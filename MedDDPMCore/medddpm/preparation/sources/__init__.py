"""Readers of the ways in which others lay out their data sets, one module each."""
