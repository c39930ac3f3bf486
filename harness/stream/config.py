"""Settings of ``harness stream``."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from harness.compute import Precision
from harness.config import Config


class StreamConfig(Config):
    """Settings of ``harness stream``."""

    artifact: Path
    source: str
    output: Path = Path("stream")
    task: list[str] = Field(default=[], description="Tasks to predict; empty for all of the artifact.")
    every: Annotated[int, Field(ge=1, description="Take every n-th frame.")] = 1
    max_frames: Annotated[int, Field(ge=1)] | None = None
    fps: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    realtime: bool = False
    against: Literal["dense"] | None = None
    format: Literal["mp4", "sheet", "none"] = "mp4"
    device: str | None = None
    precision: Precision = "fp32"
