"""What the Slicer modules of MedDDPM share: jobs of the background worker, models, exchange with the scene, packages.

Importing this package imports nothing of it, and of the core only its version: another one than that of the modules,
with which it comes, is refused by ImportError. Only ``Panels`` needs Qt; no file needs torch or nibabel to be imported.
"""

import medddpm

CORE_VERSION = "0.1.0"
if getattr(medddpm, "__version__", "unknown") != CORE_VERSION:
    found = f"{getattr(medddpm, '__version__', 'unknown')} in {next(iter(medddpm.__path__))}"
    raise ImportError(f"the Python package medddpm has the version {found}, but {CORE_VERSION} is needed")
