"""Models of a method and their artifacts: building, saving, loading, extending, each checked."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from safetensors.torch import save_file

from harness.errors import MethodError, UsageError
from harness.method.contract import Method
from harness.method.optional import Extension
from harness.model import MultiTaskModel
from harness.problem import Problem
from harness.weights import load_exactly
from harness.weights.artifact import Manifest, read_manifest, read_tensors


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
