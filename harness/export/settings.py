"""Settings that commands share: the runtime that serves a model, and aids to its training."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from harness.compute import Quantise, Runtime

ITSELF = (None, "eager", "compile")
"""Runtimes that run the model itself."""


class Served(BaseModel):
    """The runtime of a model; records of commands without one stay as they were."""

    runtime: Runtime | None = Field(
        default=None, exclude_if=lambda value: value is None, description="What runs the model; null: eager."
    )
    quantise: Quantise | None = Field(
        default=None, exclude_if=lambda value: value is None, description="8-bit weights, by onnxruntime; null: none."
    )

    @model_validator(mode="after")
    def _can_be_served(self) -> Self:
        precision = getattr(self, "precision", "fp32")
        if self.quantise is not None and self.runtime != "onnxruntime":
            raise ValueError("--quantise is of --runtime onnxruntime alone")
        if self.runtime not in ITSELF:
            if precision not in ("fp32", ["fp32"]):
                raise ValueError(f"--runtime {self.runtime} computes in fp32; leave --precision out")
            if any(getattr(self, name, None) for name in ("compile", "cuda_graph", "channels_last")):
                raise ValueError(f"--runtime {self.runtime} is not compiled, captured or laid out by torch")
        return self


class Aided(BaseModel):
    """The training aids of a command, `harness.recipe.Aids`; records of commands without them stay as they were."""

    accumulate: Annotated[int, Field(ge=1, le=1024)] = Field(
        default=1, exclude_if=lambda value: value == 1, description="Parts of a batch whose gradients are added."
    )
    ema: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None, exclude_if=lambda value: value is None, description="Decay of averaged weights; null for none."
    )
    balance: Literal["uncertainty", "upgrad", "mgda", "pcgrad", "cagrad"] | None = Field(
        default=None, exclude_if=lambda value: value is None, description="Balance of the tasks; null: fixed weights."
    )
