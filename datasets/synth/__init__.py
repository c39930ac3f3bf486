"""Rendered scenes in the layouts of the real data sets."""
