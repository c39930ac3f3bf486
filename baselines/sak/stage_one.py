"""Weights of SAK's first stage, in which the student learns from its teachers on ImageNet, as a start of training."""

from collections.abc import Mapping

from torch import Tensor

from harness.backbones.checkpoints import adapt_vit
from harness.baselines.sak.student import Student
from harness.weights import WeightFile, load_exactly
from harness.weights.state import State, read_state

_PATHS = "tsap."
"""Prefix of the adapters beside the ViT, by which a student is told from a plain encoder."""

_OF_TASKS = ("mor.", "heads.")
"""Routers and heads, which the first stage does not have."""


def students_weights(file: WeightFile) -> State | None:
    """Return the weights of a student in a file, without the level of the backbone; None if it holds another network.

    Raises:
        UsageError: the file is unreadable.
    """
    state = {key.removeprefix("backbone."): value for key, value in read_state(file.path).state.items()}
    return state if any(key.startswith(_PATHS) for key in state) else None


def load_student(student: Student, state: Mapping[str, Tensor], file: WeightFile) -> tuple[str, ...]:
    """Load a student of the first stage; routers stay as they are, and position embeddings are resampled.

    Args:
        student: What to load into.
        state: `students_weights`.
        file: Where they come from.

    Returns:
        Notes on what was ignored.

    Raises:
        UsageError: the file does not hold exactly the ViT and the paths of this student.
    """
    own = student.state_dict()
    left = [key for key in state if key.startswith(_OF_TASKS) or (key not in own and key.startswith("ts_aligners."))]
    taken = {key: value for key, value in state.items() if key not in left}
    vit = {key.removeprefix("vit."): value for key, value in taken.items() if key.startswith("vit.")}
    adapted = adapt_vit(vit, student.grid, student.vit.embed_dim)
    kept = {f"vit.{key}": value for key, value in adapted.state.items() if not key.startswith("norm.")}
    rest = {key: value for key, value in taken.items() if not key.startswith("vit.")}
    routers = {key: value for key, value in own.items() if key.startswith(_OF_TASKS)}
    load_exactly(student, routers | kept | rest, f"weights {file.path}", "the student")
    groups = sorted({key.split(".")[0] for key in left})
    return (f"weights {file.path.name}: ignored, as no part of the first stage: {', '.join(groups)}",) if left else ()
