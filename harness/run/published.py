"""Published checkpoints of whole methods, as their authors' code wrote them."""

from harness.method import Method, MultiTaskModel, PublishedKeys, build_model
from harness.problem import Problem
from harness.weights import WeightFile, load_exactly
from harness.weights.state import Adapted, read_state


def load_published(method: Method, problem: Problem, file: WeightFile) -> tuple[MultiTaskModel, tuple[str, ...]]:
    """Return a method's model with the weights of a published checkpoint, and notes on them.

    Args:
        method: The method, set up.
        problem: The tasks and the input size that the checkpoint was trained for.
        file: The checkpoint, in one of the formats that `harness.weights.state.read_state` understands.

    Raises:
        UsageError: the file is unreadable, or does not hold exactly the weights of this model.
    """
    found = read_state(file.path)
    model = build_model(type(method)(method.options, method.backbone), problem)  # encoders start from the file, too
    adapted = method.adapt(found.state, model) if isinstance(method, PublishedKeys) else Adapted(found.state)
    height, width = problem.input_size
    target = f"{method.name} on {method.backbone} for {', '.join(problem.names)} at {height}x{width}"
    load_exactly(model, adapted.state, f"checkpoint {file.path}", target)
    notes = [*found.notes, *adapted.notes]
    # Weights that no prediction depends on: counted as parameters, absent from MACs
    idle = sum(value.numel() for name, value in model.named_parameters() if name.startswith(model.unused))
    if model.unused and idle:
        notes.append(f"{idle / 1e6:.2f} M of its parameters are never used, and kept")
    return model, tuple(f"checkpoint {file.path.name}: {note}" for note in notes)
