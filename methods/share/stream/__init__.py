"""Video half of the sharing method: a base and its sub-tasks, each computed where it changed."""

from harness.methods.share.stream.stream import SharedStream

__all__ = ["SharedStream"]
