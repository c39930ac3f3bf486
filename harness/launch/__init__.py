"""A matrix on more than one process: its cells as jobs of their own, side by side."""
