"""Probes: one cost of a method a file."""
