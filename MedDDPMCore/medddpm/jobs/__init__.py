"""Job folders and the warm worker that runs them."""
