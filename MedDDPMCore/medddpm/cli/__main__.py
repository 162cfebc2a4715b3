"""``python -m medddpm.cli``."""

from .app import main

main()
