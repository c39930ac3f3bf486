"""TSP-Transformer: prompts of every task in the encoder, before InvPT's decoder (Wang et al., WACV 2024)."""

from harness.baselines.tsp.method import TSP

__all__ = ["TSP"]
