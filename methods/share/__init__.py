"""The sharing method: sub-tasks as sparse differences of one base task's network (Shoouri et al., ICCV 2023)."""

from harness.methods.share.method import Share

__all__ = ["Share"]
