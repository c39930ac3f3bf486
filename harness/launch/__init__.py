"""A matrix on more than one process: its cells as jobs of their own, on this machine or a cluster."""
