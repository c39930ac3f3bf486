"""How large a model is in memory."""

from collections.abc import Iterable

from torch import nn

from harness.model import MultiTaskModel
from harness.records.costs import Parameters


def count_parameters(model: MultiTaskModel) -> Parameters:
    """Count parameters of the model and of each part; a parameter used twice counts once."""
    return Parameters(
        total=_count(model.parameters()),
        per_part={name: _count(part.parameters()) for name, part in model.parts().items()},
    )


def _count(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters)
