"""The evaluation conventions that change a number, as options with named profiles."""

from pydantic import BaseModel, ConfigDict


class Protocol(BaseModel):
    """Every convention in force for one evaluation."""

    model_config = ConfigDict(extra="forbid", frozen=True)
