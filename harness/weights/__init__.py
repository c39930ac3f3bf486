"""Weights: the file an encoder starts from, published state dictionaries, and the artifact of a trained model."""

from harness.weights.init import WeightFile, Weights, load_exactly

__all__ = ["WeightFile", "Weights", "load_exactly"]
