"""Label schemes, recognition of conventions, the mask check and the condition channels."""
