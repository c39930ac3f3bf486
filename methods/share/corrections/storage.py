"""Corrections in an artifact: the two files of a sub-task, beside a base that never changes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors.torch import save_file
from torch import Tensor

from harness.backbones.vit import ViTEncoder
from harness.errors import UsageError, first_fault
from harness.methods.share.corrections.nets import CorrectedNets
from harness.methods.share.corrections.parts import Correction, Shape, hidden_width
from harness.methods.share.corrections.settings import Setting, Step
from harness.methods.share.options import Values
from harness.methods.share.storage import BASE, HEAD, Count, contiguous, write_task
from harness.weights import load_exactly
from harness.weights.artifact import TaskFile, read_tensors

_PARTS = "correction."
_TYPES: Mapping[Values, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16}

Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class StoredSetting(_Part):
    """A setting, and what calibration found of it; null without calibration."""

    corrected: bool
    first_block: Count | None
    fraction: Fraction
    macs: Count | None = None
    loss: Annotated[float, Field(allow_inf_nan=False)] | None = None

    def setting(self) -> Setting:
        """Return the setting."""
        return Setting(self.corrected, self.first_block, self.fraction)


class CorrectionFacts(_Part):
    """Contents of a task file about a sub-task's correction.

    Settings are those it was trained for, from cheap to dear; ``chosen`` is the place of the one in force among them.
    """

    engine: Literal["corrections"]
    values: Values
    levels: list[Count]
    rank: Count
    cell: Annotated[int, Field(ge=1)]
    cell_channels: Count
    first_block: Count
    own_keys: bool
    settings: Annotated[list[StoredSetting], Field(min_length=1, max_length=64)]
    chosen: Count
    calibrated: bool

    @model_validator(mode="after")
    def _fits(self) -> Self:
        """Check that every setting can run."""
        if self.chosen >= len(self.settings):
            raise ValueError(f"it has {len(self.settings)} settings and runs number {self.chosen}")
        for setting in self.settings:
            own = setting.first_block is not None
            if (setting.corrected and not self.rank) or own != (setting.fraction > 0):
                raise ValueError("a setting runs what the sub-task does not have")
            if own and ((setting.first_block or 0) < self.first_block or self.own_keys != (setting.fraction == 1)):
                raise ValueError("a setting runs blocks that are not the sub-task's own")
        return self

    def shape(self, base: ViTEncoder) -> Shape:
        """Return the sizes of its parts.

        Raises:
            ValueError: the base has fewer blocks.
        """
        depth = len(base.vit.blocks)
        inside = [setting.first_block < depth for setting in self.settings if setting.first_block is not None]
        if self.first_block > depth or any(level > depth for level in self.levels) or not all(inside):
            raise ValueError(f"it has more than {depth} blocks")
        return Shape(
            width=base.channels,
            levels=tuple(self.levels),
            rank=self.rank,
            cell=self.cell,
            cell_channels=self.cell_channels,
            blocks=range(self.first_block, depth),
            own_keys=self.own_keys,
        )


def facts_of(nets: CorrectedNets, task: str) -> CorrectionFacts:
    """Return what the task file says of a sub-task."""
    part = nets.correction(task)
    # What calibration found is kept beside each setting, so that another can be chosen without a new walk.
    walked = {step.setting: step for step in nets.calibrated.get(task, ())}
    settings = [
        StoredSetting(
            corrected=setting.corrected,
            first_block=setting.first_block,
            fraction=setting.fraction,
            macs=walked[setting].macs if setting in walked else None,
            loss=walked[setting].loss if setting in walked else None,
        )
        for setting in part.ladder
    ]
    return CorrectionFacts(
        engine="corrections",
        values=nets.options.values,
        levels=list(part.shape.levels),
        rank=part.shape.rank,
        cell=part.shape.cell,
        cell_channels=part.shape.cell_channels,
        first_block=part.shape.blocks.start,
        own_keys=part.shape.own_keys,
        settings=settings,
        chosen=part.ladder.index(nets.settings[task]),
        calibrated=task in nets.calibrated,
    )


def save_task(nets: CorrectedNets, task: str, folder: Path) -> None:
    """Write the two files of a task."""
    tensors = {f"{HEAD}{key}": value for key, value in nets.heads[task].state_dict().items()}
    facts: dict[str, Any] = {}
    if task in nets.corrections:
        # Heads stay fp32: the base task's head is stored so too.
        kind = _TYPES[nets.options.values]
        state = nets.correction(task).state_dict()
        tensors |= {f"{_PARTS}{key}": value.to(kind) for key, value in state.items()}
        facts = facts_of(nets, task).model_dump(mode="json")
    save_file(contiguous(tensors), folder / f"{task}.safetensors")
    write_task(nets.problem, task, facts, folder)


@dataclass(frozen=True)
class LoadedCorrection:
    """Contents of the two files of a task.

    Attributes:
        head: State of its head.
        correction: Its parts; None of the base task.
        facts: Its facts; None of the base task.
        source: The file, for messages.
    """

    head: Mapping[str, Tensor]
    correction: Correction | None
    facts: CorrectionFacts | None
    source: str

    def give_to(self, nets: CorrectedNets, task: str) -> None:
        """Load the head and set the setting in force; ``accuracy_budget=null`` overrules a calibrated one.

        Raises:
            UsageError: the head does not fit.
        """
        load_exactly(nets.heads[task], self.head, self.source)
        if self.facts is None or not self.facts.calibrated:
            return
        steps = [(stored.setting(), stored.macs, stored.loss) for stored in self.facts.settings]
        nets.calibrated[task] = [Step(setting, macs, loss) for setting, macs, loss in steps if macs is not None]
        if nets.options.accuracy_budget is not None:
            nets.settings[task] = self.facts.settings[self.facts.chosen].setting()


def load_task(task: str, folder: Path, base: ViTEncoder, is_base: bool) -> LoadedCorrection:
    """Read the two files of a task.

    Args:
        task: Its name.
        folder: The artifact.
        base: The base's encoder.
        is_base: Whether it is the base task, which has no correction.

    Raises:
        UsageError: a file is missing or damaged, or is of another encoder or engine.
    """
    # 1. The tensors, split into head and parts.
    path = folder / f"{task}.safetensors"
    tensors = read_tensors(path)
    head = {key.removeprefix(HEAD): value for key, value in tensors.items() if key.startswith(HEAD)}
    # 2. The facts, which a base task does not have.
    facts = read_facts(task, folder)
    if (facts is None) != is_base:
        kind = "a correction, though it is the base task" if is_base else "no correction, though it is no base task"
        raise UsageError(f"artifact {folder}: {task} has {kind}; save it again")
    source = f"artifact {folder}: {path.name}"
    if facts is None:
        return LoadedCorrection(head, None, None, source)
    # 3. Parts of the stored sizes.
    try:
        # What was stored decides the sizes, not the options: a later task may have other ones
        shape = facts.shape(base)
        size = sum(math.prod(value.shape) for key, value in tensors.items() if key.startswith(_PARTS))
        if shape.rank * shape.width > size:  # sizes are not believed before memory is taken for them
            raise ValueError("it has fewer values than its table says")
        correction = Correction(shape, hidden_width(base), tuple(stored.setting() for stored in facts.settings))
    except ValueError as error:
        raise UsageError(f"artifact {folder}: the files of {task} are damaged ({error})") from error
    state = {key.removeprefix(_PARTS): value for key, value in tensors.items() if key.startswith(_PARTS)}
    load_exactly(correction, state, source)
    return LoadedCorrection(head, correction, facts, source)


def read_facts(task: str, folder: Path) -> CorrectionFacts | None:
    """Return the facts of a sub-task's correction; None for the base task.

    Raises:
        UsageError: the task's file is missing or damaged, or of another engine.
    """
    content = TaskFile.read(TaskFile.path(folder, task)).facts
    if not content:
        return None
    if "engine" not in content:
        raise UsageError(f"artifact {folder}: {task} is a sparse difference, which engine=corrections does not run")
    try:
        return CorrectionFacts.model_validate(content)
    except ValidationError as error:
        raise UsageError(f"artifact {folder}: the files of {task} are damaged ({first_fault(error)})") from error


def bytes_by_part(folder: Path, tasks: tuple[str, ...]) -> dict[str, int]:
    """Return the bytes of the artifact by part of the model: file sizes, headers and tables included."""
    parts = {"base": (folder / BASE).stat().st_size}
    for task in tasks:
        path = folder / f"{task}.safetensors"
        facts = TaskFile.path(folder, task).stat().st_size
        own = [value for key, value in read_tensors(path).items() if key.startswith(_PARTS)]
        # Facts exist for the correction's sake; of the base task they describe the head alone.
        size = sum(value.numel() * value.element_size() for value in own)
        if own:
            parts[f"correction/{task}"] = size + facts
        parts[f"head/{task}"] = path.stat().st_size - size + (0 if own else facts)
    return parts


def describe(folder: Path, tasks: tuple[str, ...]) -> dict[str, Any]:
    """Return, per sub-task, its parts and what calibration found, as ``harness show`` prints them."""
    described: dict[str, Any] = {}
    for task in tasks:
        if (facts := read_facts(task, folder)) is None:
            continue
        settings = [stored.model_dump() | {"title": stored.setting().title} for stored in facts.settings]
        described[task] = facts.model_dump(mode="json", exclude={"settings"}) | {"settings": settings}
    return {"sub_tasks": described, "bytes_by_part": bytes_by_part(folder, tasks)}
