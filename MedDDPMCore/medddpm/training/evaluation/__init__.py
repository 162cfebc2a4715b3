"""A model measured on a split of a prepared dataset: figures, tables, and a page with samples beside real images."""
