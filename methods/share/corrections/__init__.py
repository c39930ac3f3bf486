"""Corrections: one frozen base, and per sub-task a small correction of its tokens, trained in one stage."""

from harness.methods.share.corrections.nets import CorrectedNets
from harness.methods.share.corrections.settings import Setting

__all__ = ["CorrectedNets", "Setting"]
