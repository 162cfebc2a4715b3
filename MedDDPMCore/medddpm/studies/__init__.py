"""The studies of the paper, each by one command: what its tables say, computed on a dataset of one's own."""
