"""What the Slicer modules of MedDDPM share: jobs of the background worker, exchange with the scene, packages.

Importing this package imports nothing else. No file of it needs Qt, torch or nibabel to be imported.
"""
