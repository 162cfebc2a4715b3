"""Brain anatomy: label maps of healthy brains, fitted to an outline and pushed aside by a tumor."""
