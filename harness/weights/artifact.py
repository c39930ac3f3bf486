"""The deployable artifact on disk: its manifest and its bytes."""

import json
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict
from safetensors import safe_open

from harness.errors import UsageError
from harness.files import digest, sha256_of
from harness.model import MultiTaskModel
from harness.problem import Problem, TaskSpec


class Manifest(BaseModel):
    """Contents of an artifact's ``artifact.json``."""

    model_config = ConfigDict(extra="forbid")

    format: Literal[1]
    method: str
    backbone: str
    options: dict[str, Any]
    input_size: tuple[int, int]
    tasks: list[dict[str, Any]]

    def problem(self) -> Problem:
        """Return the problem the artifact was trained for."""
        tasks = tuple(TaskSpec(**(task | {"class_names": tuple(task.get("class_names", ()))})) for task in self.tasks)
        return Problem(tasks, self.input_size)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the manifest in ``text``."""
        return cls.model_validate(json.loads(text))


class TaskFile(BaseModel):
    """Contents of ``<task>.task.json``, by which an artifact grows by a task without a change to its other files."""

    model_config = ConfigDict(extra="forbid")

    position: int
    task: dict[str, Any]
    facts: dict[str, Any] = {}

    @classmethod
    def path(cls, folder: Path, task: str) -> Path:
        """Return the file of a task."""
        return folder / f"{task}.task.json"


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of an artifact folder, with the tasks of its task files.

    Raises:
        UsageError: the folder holds no artifact of a known format.
    """
    path = folder / "artifact.json"
    if not path.is_file():
        raise UsageError(f"{folder} is no artifact: it has no artifact.json")
    try:
        manifest = Manifest.parse(path.read_text())
        files = [TaskFile.model_validate_json(file.read_text()) for file in sorted(folder.glob("*.task.json"))]
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"artifact {folder}: artifact.json is damaged or of another version ({reason})") from error
    manifest.tasks += [file.task for file in sorted(files, key=lambda file: file.position)]
    return manifest


def tensor_bytes(path: Path, model: MultiTaskModel) -> dict[str, int]:
    """Return the bytes of the tensors in a safetensors file by part of the model; other tensors count for no part.

    Args:
        path: File whose keys are names of the model's state.
        model: The model it is of.
    """
    parts = model.parts()
    owners = {id(value): title for title, part in parts.items() for value in part.state_dict(keep_vars=True).values()}
    titles = {key: owners.get(id(value)) for key, value in model.state_dict(keep_vars=True).items()}
    counts = dict.fromkeys(parts, 0)
    with safe_open(path, "pt") as file:
        for key in file.keys():  # noqa: SIM118 - not a dictionary
            title = titles.get(key)
            if title is not None:
                tensor = file.get_tensor(key)
                counts[title] += tensor.numel() * tensor.element_size()
    return counts


def digest_artifact(folder: Path) -> str:
    """Return the sha256 over the names and contents of an artifact's files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return digest({path.relative_to(folder).as_posix(): sha256_of(path) for path in files})
