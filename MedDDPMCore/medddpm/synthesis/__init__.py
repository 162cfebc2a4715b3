"""From mask files to images on disk: the whole way of one case, and of a batch."""
