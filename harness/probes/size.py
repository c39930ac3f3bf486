"""How large a model is: parameters in memory and bytes on disk."""

from collections.abc import Iterable
from pathlib import Path

from torch import nn

from harness.costs import Parameters, Storage
from harness.model import MultiTaskModel


def count_parameters(model: MultiTaskModel) -> Parameters:
    """Count parameters of the model and of each part; a parameter used twice counts once."""
    return Parameters(
        total=_count(model.parameters()),
        per_part={name: _count(part.parameters()) for name, part in model.parts().items()},
    )


def measure_storage(artifact: Path) -> Storage:
    """Return the bytes of every file of a saved artifact."""
    files = sorted(path for path in artifact.rglob("*") if path.is_file())
    per_file = {path.relative_to(artifact).as_posix(): path.stat().st_size for path in files}
    return Storage(artifact_bytes=sum(per_file.values()), per_file=per_file)


def _count(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters)
