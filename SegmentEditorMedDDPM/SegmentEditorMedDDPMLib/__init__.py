"""The Segment Editor effect "MedDDPM": places, moves and reshapes tumors in a mask, and generates MRI from it.

Importing this package imports nothing else. Only ``SegmentEditorEffect``, ``OptionsFrame`` and ``SelfTest``
need the application; all other files run on MRML alone.
"""
