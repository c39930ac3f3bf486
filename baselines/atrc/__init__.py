"""ATRC: contexts of other tasks, of a kind that was searched for every pair (Bruggemann et al., ICCV 2021)."""

from harness.baselines.atrc.method import ATRC

__all__ = ["ATRC"]
