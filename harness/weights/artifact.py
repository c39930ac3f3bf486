"""Artifact of a trained model on disk: its manifest, its task files, its tensors."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from harness.errors import UsageError, first_fault
from harness.files import digest, sha256_of
from harness.model import MultiTaskModel
from harness.problem import Problem, TaskSpec

_LARGEST_TEXT = 2**24
"""Bytes of a manifest or task file; the largest of ours, with a table of 150 weights, has 30 000."""

_LARGEST_SIDE = 2**14
"""Pixels: an image of this side has more than any encoder can take."""

Side = Annotated[int, Field(ge=1, le=_LARGEST_SIDE, strict=True)]


class _Task(BaseModel):
    """A task as a manifest describes it; its name is part of the names of files."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
    num_classes: Annotated[int, Field(ge=1, le=2**16)] | None = None
    class_names: list[Annotated[str, Field(max_length=256)]] = []
    tolerance: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None

    def spec(self) -> TaskSpec:
        """Return the task.

        Raises:
            ValueError: it is none that can be predicted.
        """
        spec = TaskSpec(self.name, self.num_classes, tuple(self.class_names), self.tolerance)
        try:
            assert spec.channels
        except KeyError as error:
            raise ValueError(f"task {self.name}: unknown, and without num_classes") from error
        return spec


class Manifest(BaseModel):
    """Contents of an artifact's ``artifact.json``."""

    model_config = ConfigDict(extra="forbid")

    format: Literal[1]
    method: str
    backbone: str
    options: dict[str, Any]
    input_size: tuple[Side, Side]
    tasks: list[dict[str, Any]]

    def problem(self) -> Problem:
        """Return the problem the artifact was trained for.

        Raises:
            ValueError: a task is described wrongly, or twice, or there is none.
        """
        tasks = tuple(_Task.model_validate(task).spec() for task in self.tasks)
        names = [task.name for task in tasks]
        if not tasks:
            raise ValueError("it has no task")
        if len(set(names)) < len(names):
            raise ValueError(f"it has the task {max(names, key=names.count)} twice")
        return Problem(tasks, self.input_size)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the manifest in ``text``.

        Raises:
            ValueError: it is none.
        """
        try:
            return cls.model_validate(json.loads(text))
        except RecursionError as error:  # [[[[...
            raise ValueError("it is nested too deeply") from error


class TaskFile(BaseModel):
    """Contents of ``<task>.task.json``, by which an artifact grows by a task without a change to its other files."""

    model_config = ConfigDict(extra="forbid")

    position: Annotated[int, Field(ge=0, le=2**16)]
    task: dict[str, Any]
    facts: dict[str, Any] = {}

    @classmethod
    def path(cls, folder: Path, task: str) -> Path:
        """Return the file of a task."""
        return folder / f"{task}.task.json"

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the contents of a file.

        Raises:
            UsageError: it is missing or damaged, or describes another task than the one it is named after.
        """
        try:
            content = cls.model_validate_json(_text_of(path))
            name = _Task.model_validate(content.task).spec().name
            if path != cls.path(path.parent, name):
                raise ValueError(f"it is of the task {name}")
        except (ValueError, RecursionError) as error:
            raise _damaged(path, error) from error
        return content


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of an artifact folder, with the tasks of its task files.

    Raises:
        UsageError: the folder holds no artifact of a known format, or its manifest or a task file is damaged.
    """
    path = folder / "artifact.json"
    if not path.is_file():
        raise UsageError(f"{folder} is no artifact: it has no artifact.json")
    try:
        manifest = Manifest.parse(_text_of(path))
        files = [TaskFile.read(file) for file in sorted(folder.glob("*.task.json"))]
        manifest.tasks += [file.task for file in sorted(files, key=lambda file: file.position)]
        manifest.problem()
    except ValueError as error:
        raise _damaged(path, error) from error
    return manifest


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors in a file of an artifact.

    Raises:
        UsageError: it is missing or damaged.
    """
    if not path.is_file():  # a pipe would block for ever
        raise UsageError(f"artifact {path.parent}: {path.name} cannot be read (there is no such file); save it again")
    try:
        return load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"artifact {path.parent}: {path.name} cannot be read ({reason}); save it again") from error


def _text_of(path: Path) -> str:
    """Return the text of a small file.

    Raises:
        ValueError: it is no file, too large, or no text.
    """
    if not path.is_file():  # a pipe would block for ever
        raise ValueError("it is no file")
    if path.stat().st_size > _LARGEST_TEXT:
        raise ValueError(f"it has {path.stat().st_size} bytes")
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(error.strerror) from error


def _damaged(path: Path, error: Exception) -> UsageError:
    if isinstance(error, ValidationError):
        reason = first_fault(error)
    else:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
    return UsageError(f"artifact {path.parent}: {path.name} is damaged or of another version ({reason[:200]})")


def tensor_bytes(path: Path, model: MultiTaskModel) -> dict[str, int]:
    """Return the bytes of the tensors in a safetensors file by part of the model; other tensors count for no part.

    Args:
        path: File whose keys are names of the model's state.
        model: The model it is of.
    """
    # Tensors are matched by identity: parts name them otherwise than the whole model does
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
