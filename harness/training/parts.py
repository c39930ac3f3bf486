"""Parts of a training: chains of stages that do not need each other, trained apart and joined."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.errors import MethodError, UsageError
from harness.files import replacing
from harness.model import MultiTaskModel
from harness.recipe import Stage
from harness.records import StageInfo
from harness.training.loop import TrainingSetup, train


@dataclass(frozen=True)
class Part:
    """Stages that are trained one after the other in one process.

    Attributes:
        name: Of its folder; unique within a recipe.
        stages: Each needs the one before it.
        before: Names of the parts it starts from, in the order of the recipe.
    """

    name: str
    stages: tuple[Stage, ...]
    before: tuple[str, ...]


@dataclass(frozen=True)
class Kept:
    """Result of a part.

    Attributes:
        state: Entries of the model's state that it changed, on the CPU.
        training: Facts of its stages for the record.
    """

    state: dict[str, Any]
    training: list[StageInfo]

    def write(self, path: Path) -> None:
        """Write it; a reader sees all of it or none."""
        with replacing(path) as file:
            torch.save(
                {"state": self.state, "training": [info.model_dump(mode="json") for info in self.training]}, file
            )

    @classmethod
    def read(cls, path: Path) -> "Kept":
        """Read what `write` wrote; nothing but tensors and plain values is unpickled.

        Raises:
            UsageError: it is damaged.
        """
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            return cls(content["state"], [StageInfo.model_validate(info) for info in content["training"]])
        except Exception as error:  # of many kinds, as for checkpoints
            raise UsageError(f"{path} is damaged ({type(error).__name__}); delete it to train it again") from error


def parts_of(stages: Sequence[Stage]) -> list[Part]:
    """Return the parts of a recipe in its order; one part where every stage needs the one before it.

    Example:
        >>> base = Stage("base", ("depth",), 10, 4, after=())
        >>> subs = [Stage(f"{phase}/{task}", ("depth",), 10, 4, after=(before,)) for task in "ab"
        ...         for phase, before in (("one", "base"), ("two", f"one/{task}"))]
        >>> [(part.name, len(part.stages), part.before) for part in parts_of([base, *subs])]
        [('0-base', 1, ()), ('1-one-a', 2, ('0-base',)), ('3-one-b', 2, ('0-base',))]
    """
    own = [stage for stage in stages if stage.elsewhere is None]
    # 1. All stages that a stage needs, and those of them that no other one of them needs.
    needed: dict[str, set[str]] = {}
    directly: dict[str, set[str]] = {}
    for stage in own:  # what an artifact that is extended holds is no stage any more
        after = set(needed) if stage.after is None else {name for name in stage.after if name in needed}
        needed[stage.name] = after.union(*(needed[name] for name in after))
        directly[stage.name] = after - set().union(*(needed[name] for name in after))
    # 2. A stage goes on with the part of the only one it needs, if that is needed by no other.
    heads: dict[str, str] = {}
    for stage in own:
        only = next(iter(directly[stage.name])) if len(directly[stage.name]) == 1 else None
        lone = only is not None and sum(only in names for names in directly.values()) == 1
        heads[stage.name] = heads[only] if only is not None and lone else stage.name
    names = {
        stage.name: f"{number}-{re.sub(r'[^A-Za-z0-9_-]+', '-', stage.name)[:60]}" for number, stage in enumerate(own)
    }
    parts = []
    for head in dict.fromkeys(heads.values()):
        chain = tuple(stage for stage in own if heads[stage.name] == head)
        before = dict.fromkeys(names[heads[stage.name]] for stage in own if stage.name in needed[head])
        parts.append(Part(names[head], chain, tuple(before)))
    return parts


def train_part(model: MultiTaskModel, part: Part, before: Iterable[Kept], setup: TrainingSetup) -> Kept:
    """Train a part on a model as it was built, and return what it changed.

    Args:
        model: Untrained.
        part: The part.
        before: What the parts made that it starts from, in the order of the recipe.
        setup: With a checkpoint of its own.

    Raises:
        MethodError: as `harness.training.loop.train`.
    """
    _load(model, before)
    at_first = {name: _digest(value) for name, value in model.state_dict().items()}
    training = train(model, part.stages, setup)
    changed = {name: value for name, value in model.state_dict().items() if _digest(value) != at_first.get(name)}
    return Kept({name: _on_cpu(value) for name, value in changed.items()}, training)


def join(model: MultiTaskModel, parts: Sequence[Part], kept: Mapping[str, Kept]) -> list[StageInfo]:
    """Put what all parts made into a model as it was built; return the whole training in the order of the recipe.

    Raises:
        MethodError: two parts that do not start from each other changed the same entry.
    """
    owners: dict[str, Part] = {}
    for part in parts:
        for name in kept[part.name].state:
            owner = owners.get(name)
            if owner is not None and owner.name not in part.before:
                raise MethodError(
                    f"stages {owner.stages[0].name} and {part.stages[0].name} both change {name}: the `after` of the "
                    f"later one must name the other"
                )
            owners[name] = part
    _load(model, [kept[part.name] for part in parts])
    model.train().requires_grad_(True)  # as training leaves it
    return [info for part in parts for info in kept[part.name].training]


def _load(model: nn.Module, made: Iterable[Kept]) -> None:
    state = dict(model.state_dict())
    for one in made:
        state |= one.state
    model.load_state_dict(state)


def _digest(value: object) -> bytes:
    """Return a digest of the bits of an entry."""
    if not isinstance(value, Tensor):
        return repr(value).encode()
    whole = value.detach().cpu().contiguous()
    content = whole.flatten().view(torch.uint8).numpy().tobytes()
    return hashlib.sha256(f"{whole.dtype} {tuple(whole.shape)} ".encode() + content).digest()


def _on_cpu(value: Any) -> Any:
    return value.detach().cpu().clone() if isinstance(value, Tensor) else value
