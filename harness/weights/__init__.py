"""Weights: the file an encoder starts from, published state dictionaries, and the artifact of a trained model."""

from harness.weights.init import Start, WeightFile, Weights, load_exactly

__all__ = ["Start", "WeightFile", "Weights", "load_exactly"]
