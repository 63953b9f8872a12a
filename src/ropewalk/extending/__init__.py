"""A model and a length: whether it needs a longer rope, and which, by measuring."""
