"""Whether a training is going well: validation, samples of held-out masks, figures, and a plain verdict."""
