"""Teachers: single-task networks whose last maps sub-tasks are pulled towards, and whose heads they start from."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from harness.backbones import build_backbone
from harness.backbones.vit import ViTEncoder
from harness.data.sample import Batch
from harness.errors import HarnessError, UsageError
from harness.method import MultiTaskModel, Stage, TrainingOutput
from harness.methods.share.corrections.nets import CorrectedOutput
from harness.problem import Problem
from harness.recipe import Elsewhere
from harness.records import Record, read_record
from harness.training.recipes import baseline_stage, loss_weight
from harness.weights import load_exactly
from harness.weights.artifact import digest_artifact, read_manifest, read_tensors
from harness.weights.state import State


@dataclass(frozen=True)
class Teacher:
    """An artifact of ``single-task``, in the folder of its run.

    Args:
        folder: The artifact.
        backbone: Encoder that its networks must have.
        problem: Input size and tasks that they must have, where they have these tasks.

    Raises:
        UsageError: the folder holds no such artifact, or not the record of its training.
    """

    folder: Path
    backbone: str
    problem: Problem

    def __post_init__(self) -> None:
        manifest = read_manifest(self.folder)
        held = manifest.problem()
        if manifest.method != "single-task":
            raise self._fault(f"is of {manifest.method}; teachers are single-task networks")
        if (manifest.backbone, held.input_size) != (self.backbone, self.problem.input_size):
            theirs, ours = (
                f"{name} at {size[0]}x{size[1]}"
                for name, size in ((manifest.backbone, held.input_size), (self.backbone, self.problem.input_size))
            )
            raise self._fault(f"is {theirs}, the sub-tasks are {ours}")

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """Tasks of the problem that it has a network of."""
        channels = {task.name: task.channels for task in read_manifest(self.folder).problem()}
        return tuple(task.name for task in self.problem if channels.get(task.name) == task.channels)

    @cached_property
    def sha256(self) -> str:
        """Digest of the artifact's files."""
        return digest_artifact(self.folder)

    @cached_property
    def record(self) -> Record:
        """The record of its training, which lies beside it."""
        try:
            return read_record(self.folder.parent)
        except HarnessError as error:
            raise self._fault(f"lies beside no record, so that its training effort is unknown ({error})") from error

    def effort(self, task: str) -> Stage:
        """Return the stage that trained the network of a task, as effort to be counted."""
        # Single-task networks have one stage each, called like the task.
        found = [stage for stage in self.record.training if stage.name == task]
        if not found:
            raise self._fault(f"has no training of {task} in its record, so that its effort is unknown")
        recipe = baseline_stage(self.backbone, f"teacher/{task}", (task,), self.record.budget or "full")
        [trained] = found
        return Stage(
            recipe.name,
            recipe.tasks,
            iterations=trained.iterations,
            batch_size=trained.batch_size or recipe.batch_size,
            elsewhere=Elsewhere(self.sha256, trained.macs),
        )

    def encoder(self, task: str) -> ViTEncoder:
        """Return the encoder of a task's network, frozen."""
        encoder = build_backbone(self.backbone, self.problem.input_size)
        assert isinstance(encoder, ViTEncoder)
        load_exactly(encoder, self._under(f"nets.{task}.backbone."), f"artifact {self.folder}: {task}")
        return encoder.eval().requires_grad_(False)

    def give_head(self, task: str, head: nn.Module) -> None:
        """Load the head of a task's network into ``head``."""
        load_exactly(head, self._under(f"nets.{task}.decoder."), f"artifact {self.folder}: {task}")

    def _under(self, prefix: str) -> State:
        return {key.removeprefix(prefix): value for key, value in self._tensors.items() if key.startswith(prefix)}

    @cached_property
    def _tensors(self) -> State:
        return read_tensors(self.folder / "model.safetensors")

    def _fault(self, reason: str) -> UsageError:
        return UsageError(f"--set teacher={self.folder}: {reason}")


class Pull:
    """Auxiliary loss of a taught sub-task: the mean square difference of its last map from its teacher's.

    It has the weight of the task's own loss, as the maps of all tasks are normed alike.

    Args:
        teacher: The teacher.
        task: The sub-task.
    """

    def __init__(self, teacher: Teacher, task: str) -> None:
        self.teacher, self.task = teacher, task
        self.weight = loss_weight(teacher.problem.task(task))

    @cached_property
    def encoder(self) -> ViTEncoder:
        """The teacher's encoder, read when the first step needs it."""
        return self.teacher.encoder(self.task)

    def __call__(self, model: MultiTaskModel, batch: Batch, output: TrainingOutput) -> dict[str, Tensor]:
        """Return the loss of one step."""
        assert isinstance(output, CorrectedOutput)
        with torch.no_grad():
            target = self.encoder.to(batch.images.device)(batch.images)  # [B, D, h, w]
        return {"pull": self.weight * (output.features - target).square().mean()}


def teacher_of(folder: str | None, taught: Sequence[str] | None, backbone: str, problem: Problem) -> Teacher | None:
    """Return the teacher that the options name; None for none.

    Raises:
        UsageError: it is no such artifact, or lacks a task that it is to teach.
    """
    if folder is None:
        if taught is not None:
            raise UsageError("--set taught: needs a teacher; add --set teacher=ARTIFACT")
        return None
    teacher = Teacher(Path(folder), backbone, problem)
    for task in taught or ():
        if task not in teacher.tasks:
            known = ", ".join(teacher.tasks) or "none of the problem"
            raise UsageError(f"--set taught: the teacher has no {task}, but {known}")
    return teacher
