"""Rendered scenes in the layouts of the real data sets."""

GENERATOR_VERSION = 1
"""Raised whenever the same seed gives other bytes; part of the name of the cached default sets."""
