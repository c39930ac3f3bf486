"""Video: streams of frames through models, gated where a model carries state, measured and drawn."""

from harness.stream.contract import Frame, FrameReport, Stream, StreamingModel, open_stream
from harness.stream.policy import StreamPolicy

__all__ = ["Frame", "FrameReport", "Stream", "StreamPolicy", "StreamingModel", "open_stream"]
