"""SAK: a student of frozen vision teachers whose knowledge tasks mix (Lu et al., ICLR 2025)."""

from harness.baselines.sak.method import SAK

__all__ = ["SAK"]
