"""What the Slicer modules of MedDDPM share: jobs of the background worker, models, exchange with the scene, packages.

Importing this package imports nothing else. Only ``Panels`` needs Qt; no file needs torch or nibabel to be imported.
"""
