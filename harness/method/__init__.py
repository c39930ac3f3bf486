"""Methods: the contract that authors implement, its optional parts, and models saved to and loaded from artifacts."""

from harness.method.artifacts import (
    build_model,
    extend_artifact,
    load_artifact,
    load_published,
    save_artifact,
    write_manifest,
)
from harness.method.contract import Method, MethodOptions
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
from harness.recipe import Budget, Optimizer, ParameterGroup, Schedule, Stage

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
