"""Models of a method: built, saved to and loaded from artifacts, extended, loaded from published checkpoints."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from safetensors.torch import save_file

from harness.errors import MethodError, UsageError
from harness.method.contract import Method
from harness.method.optional import Extension, PublishedKeys
from harness.model import MultiTaskModel
from harness.problem import Problem
from harness.weights import WeightFile, load_exactly
from harness.weights.artifact import Manifest, read_manifest, read_tensors
from harness.weights.state import Adapted, read_state


def build_model(method: Method, problem: Problem) -> MultiTaskModel:
    """Return the untrained model of a method.

    Raises:
        MethodError: `Method.build` returned something else.
    """
    return _model("build", method.build(problem))


def save_artifact(method: Method, model: MultiTaskModel, folder: Path) -> None:
    """Write the artifact of a model: all that is needed to serve its tasks.

    The default format holds every parameter and buffer in ``model.safetensors``, and `write_manifest`.

    Args:
        method: A method; if it is a `harness.method.ArtifactFormat` it writes its own.
        model: The trained model.
        folder: An empty folder.
    """
    if (save := getattr(method, "save", None)) is not None:
        save(model, folder)
        return
    save_file(model.state_dict(), folder / "model.safetensors")
    write_manifest(method, model.problem, folder)


def load_artifact(method: Method, folder: Path, tasks: Sequence[str] | None = None) -> MultiTaskModel:
    """Return the model of an artifact that `save_artifact` wrote.

    Args:
        method: The method, set up as the artifact's manifest says.
        folder: The artifact.
        tasks: Tasks that will be asked for; the model may lack others. None for all.

    Raises:
        UsageError: the folder is no artifact, is damaged, or does not fit this method.
        MethodError: the method returned no model.
    """
    if (load := getattr(method, "load", None)) is not None:
        return _model("load", load(folder, tasks))
    untrained = type(method)(method.options, method.backbone)  # published weights would be fetched to be overwritten
    model = build_model(untrained, read_manifest(folder).problem())
    path = folder / "model.safetensors"
    load_exactly(model, read_tensors(path), source=f"artifact {folder}: {path.name}")
    return model


def load_published(method: Method, problem: Problem, file: WeightFile) -> tuple[MultiTaskModel, tuple[str, ...]]:
    """Return a method's model with the weights of a published checkpoint, and notes on them.

    Args:
        method: The method, set up.
        problem: The tasks and the input size that the checkpoint was trained for.
        file: The checkpoint, in one of the formats that `harness.weights.state.read_state` understands.

    Raises:
        UsageError: the file is unreadable, or does not hold exactly the weights of this model.
    """
    # 1. The weights, without wrappers, under the keys of the method's model.
    found = read_state(file.path)
    model = build_model(type(method)(method.options, method.backbone), problem)  # encoders start from the file, too
    adapted = method.adapt(found.state, model) if isinstance(method, PublishedKeys) else Adapted(found.state)
    # 2. Exactly these weights: none missing, none left over, none of another shape.
    height, width = problem.input_size
    target = f"{method.name} on {method.backbone} for {', '.join(problem.names)} at {height}x{width}"
    load_exactly(model, adapted.state, f"checkpoint {file.path}", target)
    notes = [*found.notes, *adapted.notes]
    # 3. Weights that no prediction depends on: counted as parameters, absent from MACs.
    idle = sum(value.numel() for name, value in model.named_parameters() if name.startswith(model.unused))
    if model.unused and idle:
        notes.append(f"{idle / 1e6:.2f} M of its parameters are never used, and kept")
    return model, tuple(f"checkpoint {file.path.name}: {note}" for note in notes)


def extend_artifact(method: Method, folder: Path, problem: Problem) -> MultiTaskModel:
    """Return the model of an artifact with the tasks of ``problem`` that it lacks added, untrained.

    Raises:
        UsageError: this method must be trained for all tasks at once, or the artifact does not fit.
        MethodError: the method returned no model.
    """
    if not isinstance(method, Extension):
        raise UsageError(f"{method.name} cannot add tasks to an artifact; train it for all tasks at once")
    return _model("extend", method.extend(folder, problem))


def write_manifest(method: Method, problem: Problem, folder: Path) -> None:
    """Write ``artifact.json``: all that is needed to build the model again."""
    manifest = Manifest(
        format=1,
        method=method.name,
        backbone=method.backbone,
        options=method.options.model_dump(mode="json"),
        input_size=problem.input_size,
        tasks=[asdict(task) for task in problem],
    )
    (folder / "artifact.json").write_text(manifest.model_dump_json(indent=1) + "\n")


def _model(call: str, returned: object) -> MultiTaskModel:
    if not isinstance(returned, MultiTaskModel):
        raise MethodError(f"{call} must return a MultiTaskModel, not {type(returned).__name__}")
    return returned
