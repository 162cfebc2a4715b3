"""Job folders and the warm worker that runs them.

For a program that only submits and watches jobs (a GUI), ``folder`` and ``spool`` are enough; they import neither
torch nor numpy. ``worker`` and ``runner`` run jobs; ``preview`` reads the live pictures.
"""
