"""Decoder heads shared by methods and baselines."""
