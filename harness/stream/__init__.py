"""Video: streams of frames through models, gated where a model carries state, measured and drawn."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # imported when they are first used: the command line lists settings without torch
    from harness.stream.contract import Frame, FrameReport, Stream, StreamingModel, open_stream
    from harness.stream.policy import StreamPolicy

__all__ = ["Frame", "FrameReport", "Stream", "StreamPolicy", "StreamingModel", "open_stream"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    place = "policy" if name == "StreamPolicy" else "contract"
    return getattr(importlib.import_module(f"harness.stream.{place}"), name)
