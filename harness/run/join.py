"""Joining of artifacts whose tasks were trained apart, with the training of all of them."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import save_file
from torch import Tensor

from harness.errors import UsageError, first_fault
from harness.files import new_folder, sha256_of, write_atomically, writing_to
from harness.method import ArtifactFormat, Method, build_model, load_artifact, write_manifest
from harness.problem import Problem, TaskSpec
from harness.records import StageInfo, read_record
from harness.run.configure import method_of
from harness.run.job import ARTIFACT
from harness.weights import load_exactly
from harness.weights.artifact import read_manifest, read_tensors

TRAINING = "training.json"
"""File beside a joined artifact with the stages of all, which the records of its evaluations take over."""

_STAGES = TypeAdapter(list[StageInfo])


def join_artifacts(folders: Sequence[Path], output: Path) -> tuple[Path, list[str]]:
    """Write the artifact of all tasks of several artifacts, trained apart by one method with the same options.

    What they have in common (the base of shared networks) must be the same, byte for byte.

    Args:
        folders: The artifacts.
        output: Folder to be, with the artifact and the training of all.

    Returns:
        The folder of the joined artifact, and warnings.

    Raises:
        UsageError: they do not fit together, or the folder exists.
    """
    manifests = [read_manifest(folder) for folder in folders]
    first, target = manifests[0], output / ARTIFACT
    if target.exists():
        raise UsageError(f"-o {output}: holds an artifact already")
    tasks: dict[str, TaskSpec] = {}
    for folder, manifest in zip(folders, manifests, strict=True):
        for key in ("method", "backbone", "options", "input_size"):
            if getattr(manifest, key) != getattr(first, key):
                theirs, ours = getattr(manifest, key), getattr(first, key)
                raise UsageError(f"{folder}: has the {key.replace('_', ' ')} {theirs}, {folders[0]} has {ours}")
        for spec in manifest.problem():
            if tasks.setdefault(spec.name, spec) != spec:
                raise UsageError(f"{folder}: has another task {spec.name} than the artifacts before it")
    method, problem = method_of(first, folders[0]), Problem(tuple(tasks.values()), first.input_size)
    training, warnings = _training(folders, problem)
    with writing_to(f"-o {output}"):
        with new_folder(target) as unfinished:
            if isinstance(method, ArtifactFormat):
                _join_files(folders, unfinished)
            else:
                _join_tensors(method, folders, problem, unfinished)
            load_artifact(method, unfinished, problem.names)  # it is whole
        stages = [stage.model_dump(mode="json") for stage in training]
        write_atomically(output / TRAINING, json.dumps(stages, indent=1) + "\n")
    return target, warnings


def _join_files(folders: Sequence[Path], target: Path) -> None:
    """Copy the files of artifacts that have one or more of their own per task."""
    origins: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.iterdir()):
            known = origins.setdefault(path.name, path)
            if known is not path and sha256_of(known) != sha256_of(path):
                raise UsageError(f"{path} differs from {known}: the artifacts do not share it; use --extend")
    for name, path in origins.items():
        shutil.copyfile(path, target / name)


def _join_tensors(method: Method, folders: Sequence[Path], problem: Problem, target: Path) -> None:
    """Write the tensors of artifacts that have all in one file."""
    state: dict[str, Tensor] = {}
    for folder in folders:
        for key, value in read_tensors(folder / "model.safetensors").items():
            known = state.setdefault(key, value)
            if known is not value and not torch.equal(known, value):
                raise UsageError(f"{folder}: {key} differs from the artifacts before it; {method.name} shares it")
    model = build_model(type(method)(method.options, method.backbone), problem)
    load_exactly(model, state, f"the artifacts of {', '.join(problem.names)} together")
    save_file(model.state_dict(), target / "model.safetensors")
    write_manifest(method, problem, target)


def _training(folders: Sequence[Path], problem: Problem) -> tuple[list[StageInfo], list[str]]:
    """Return the stages of all artifacts in order, and what is not known of them."""
    stages: dict[str, StageInfo] = {}
    waiting, seen = list(folders), set()
    while waiting:
        folder = waiting.pop(0)
        if folder in seen:
            continue
        seen.add(folder)
        for stage in training_beside(folder):
            stages.setdefault(stage.name, stage)
        try:
            extended = read_record(folder.parent).config.get("extend")
        except UsageError:  # it came without its record
            continue
        if isinstance(extended, str):
            waiting.append(Path(extended))
    trained = {task for stage in stages.values() for task in stage.tasks or []}
    lost = [task for task in problem.names if task not in trained]
    notes = [f"the training of {', '.join(lost)} is not known: its artifact lies beside no record"] if lost else []
    return list(stages.values()), notes


def training_beside(artifact: Path) -> list[StageInfo]:
    """Return the stages that a joined artifact, or the artifact of a run, was trained in; empty where none are known.

    Raises:
        UsageError: the file of a joined artifact is damaged.
    """
    path = artifact.parent / TRAINING
    try:
        return _STAGES.validate_json(path.read_bytes())
    except FileNotFoundError:
        pass
    except (OSError, ValidationError) as error:
        reason = first_fault(error) if isinstance(error, ValidationError) else error.strerror
        raise UsageError(f"{path} cannot be read ({reason})") from error
    try:
        return read_record(artifact.parent).training
    except UsageError:
        return []
