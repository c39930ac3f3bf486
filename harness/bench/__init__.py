"""From a configuration to the costs of methods, on random weights and random images: no data is needed."""

from harness.bench.matrix import bench

__all__ = ["bench"]
