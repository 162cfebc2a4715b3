"""Models on disk and in memory: model folders, published checkpoints, the bundled demo."""
