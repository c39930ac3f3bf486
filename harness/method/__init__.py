"""Methods: the contract that authors implement, its optional parts, and models saved to and loaded from artifacts."""

import importlib
from typing import TYPE_CHECKING, Any

from harness.method.options import MethodOptions
from harness.recipe import Budget, Optimizer, ParameterGroup, Schedule, Stage

if TYPE_CHECKING:  # imported when they are first used: names and options are listed without torch
    from harness.method.artifacts import (
        build_model,
        extend_artifact,
        load_artifact,
        load_published,
        save_artifact,
        write_manifest,
    )
    from harness.method.contract import Method
    from harness.method.optional import (
        Accounting,
        ArtifactFormat,
        Calibration,
        Extension,
        MatchedEffort,
        PublishedKeys,
        Score,
        accounting_of,
    )
    from harness.model import MultiTaskModel, Predictions, TrainingOutput

__all__ = [
    "Accounting",
    "ArtifactFormat",
    "Budget",
    "Calibration",
    "Extension",
    "MatchedEffort",
    "Method",
    "MethodOptions",
    "MultiTaskModel",
    "Optimizer",
    "ParameterGroup",
    "Predictions",
    "PublishedKeys",
    "Schedule",
    "Score",
    "Stage",
    "TrainingOutput",
    "accounting_of",
    "build_model",
    "extend_artifact",
    "load_artifact",
    "load_published",
    "save_artifact",
    "write_manifest",
]

_PLACES = ("harness.model", "harness.method.contract", "harness.method.optional", "harness.method.artifacts")


def __getattr__(name: str) -> Any:
    if name in __all__:
        for place in _PLACES:
            module = importlib.import_module(place)
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
