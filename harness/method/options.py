"""Options of a method: the fields of one class, which every way of setting them reads."""

from pydantic import BaseModel, ConfigDict


class MethodOptions(BaseModel):
    """Base of a method's options: its fields are the keys of ``--set key=value``."""

    model_config = ConfigDict(extra="forbid", frozen=True)
