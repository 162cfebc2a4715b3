"""Training on prepared cases."""
