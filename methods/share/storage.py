"""Artifact of the sharing method: one base that never changes, and two files per task.

``artifact.json`` and ``base.safetensors`` are the base's; ``<task>.task.json`` and ``<task>.safetensors`` hold a head
and, for a sub-task, the difference of its weights and its gates. To add a task is to add its two files.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors.torch import save_file
from torch import Tensor

from harness.backbones import Encoder
from harness.errors import UsageError, first_fault
from harness.methods.share.delta import Delta, SparseTensor, StoredDelta
from harness.methods.share.encoder import FROZEN, layer_of, named_weights
from harness.methods.share.encoding import Encoding, decode, encode
from harness.methods.share.execution import TokenGate
from harness.methods.share.model import SharedNets
from harness.methods.share.options import Values
from harness.problem import Problem
from harness.weights import load_exactly
from harness.weights.artifact import TaskFile, read_tensors

BASE = "base.safetensors"
# Keys of a task's tensors: the prefix of its head, the encoded places and the values of its difference.
HEAD, _CODE, _VALUES = "head.", "delta.code", "delta.values"
_TYPES: Mapping[Values, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16}


Count = Annotated[int, Field(ge=0)]
Threshold = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class StoredTensor(BaseModel):
    """One weight of a difference, as it is stored.

    The codes of all weights follow each other in one tensor, and so do their values.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    shape: tuple[Count, ...]
    encoding: Encoding
    code_bytes: Count
    stored: Count
    nonzero: Count

    @model_validator(mode="after")
    def _fits(self) -> Self:
        """Check that no more values are stored than there are elements, and that the name is one of an encoder."""
        layer_of(self.name)
        if not self.nonzero <= self.stored <= math.prod(self.shape):
            raise ValueError(f"{self.stored} values, {self.nonzero} of them not zero, in a shape of {self.shape}")
        return self


class StoredGate(BaseModel):
    """The gate of one block."""

    model_config = ConfigDict(extra="forbid")

    block: Count
    share: Annotated[float, Field(ge=0, le=1)]
    thresholds: tuple[Threshold, Threshold, Threshold]


class SubTaskFacts(BaseModel):
    """Contents of a task file about a sub-task's difference."""

    model_config = ConfigDict(extra="forbid")

    values: Literal["fp32", "fp16"]
    encoder_elements: Annotated[int, Field(ge=1)]
    tensors: list[StoredTensor]
    gates: list[StoredGate]
    calibrated: bool


def save_base(base: Encoder, folder: Path) -> None:
    """Write the base's encoder."""
    save_file(contiguous(base.state_dict()), folder / BASE)


def save_task(model: SharedNets, task: str, folder: Path) -> None:
    """Write the two files of a task."""
    tensors = {f"{HEAD}{key}": value for key, value in model.heads[task].state_dict().items()}
    facts: dict[str, Any] = {}
    if task in model.deltas:
        packed, table = _pack(model.delta(task), model.options.values)
        tensors |= packed
        # Gates of blocks that the sub-task takes over from the base would never be asked.
        facts = SubTaskFacts(
            values=model.options.values,
            encoder_elements=model.countable,
            tensors=table,
            gates=[
                StoredGate(block=block, share=gate.fraction, thresholds=gate.thresholds)
                for block, gate in model.gates[task].items()
                if block in model.own_part(task).blocks
            ],
            calibrated=task in model.calibrated,
        ).model_dump(mode="json")
    save_file(contiguous(tensors), folder / f"{task}.safetensors")
    write_task(model.problem, task, facts, folder)


def write_task(problem: Problem, task: str, facts: dict[str, Any], folder: Path) -> None:
    """Write the task file of a task; its position keeps the order of tasks when an artifact grows."""
    content = TaskFile(position=problem.names.index(task), task=asdict(problem.task(task)), facts=facts)
    TaskFile.path(folder, task).write_text(content.model_dump_json() + "\n")


def load_base(encoder: Encoder, folder: Path) -> None:
    """Load the base's encoder.

    Raises:
        UsageError: the file is missing, damaged or of another encoder.
    """
    load_exactly(encoder, read_tensors(folder / BASE), source=f"artifact {folder}: {BASE}")


@dataclass(frozen=True)
class LoadedTask:
    """Contents of the two files of a task.

    Attributes:
        head: State of its head.
        delta: Difference of its weights; None for the base task.
        facts: Its table; None for the base task.
        source: The file, for messages.
    """

    head: Mapping[str, Tensor]
    delta: StoredDelta | None
    facts: SubTaskFacts | None
    source: str

    def give_to(self, model: SharedNets, task: str) -> None:
        """Load the head and set the gates.

        Raises:
            UsageError: the head does not fit.
        """
        load_exactly(model.heads[task], self.head, self.source)
        # Gates that were not calibrated follow the options; `accuracy_budget=null` overrules those that were.
        if self.facts is None or not self.facts.calibrated or model.options.accuracy_budget is None:
            return
        for gate in self.facts.gates:
            low, middle, high = gate.thresholds
            model.gates[task][gate.block] = TokenGate(gate.share, (low, middle, high))
        model.calibrated.add(task)


def load_task(task: str, folder: Path, base: Encoder, is_base: bool) -> LoadedTask:
    """Read the two files of a task.

    Args:
        task: Its name.
        folder: The artifact.
        base: The base's encoder, whose weights the stored differences are added to.
        is_base: Whether it is the base task, which has no difference.

    Raises:
        UsageError: a file is missing or damaged, or is of another encoder.
    """
    path = folder / f"{task}.safetensors"
    tensors = read_tensors(path)
    head = {key.removeprefix(HEAD): value for key, value in tensors.items() if key.startswith(HEAD)}
    facts = read_facts(task, folder)
    if (facts is None) != is_base:
        kind = "a difference, though it is the base task" if is_base else "no difference, though it is no base task"
        raise UsageError(f"artifact {folder}: {task} has {kind}; save it again")
    source = f"artifact {folder}: {path.name}"
    if facts is None:
        return LoadedTask(head, None, None, source)
    shapes = {name: tuple(weight.shape) for name, weight in named_weights(base).items() if name not in FROZEN}
    try:
        # Shapes first: places are decoded into memory of their size
        for row in facts.tensors:
            if shapes.get(row.name) != row.shape:
                raise ValueError(f"{row.name} {list(row.shape)} is no weight of the base")
        depth = len({layer for name in shapes if (layer := layer_of(name)).startswith("block ")})
        if any(gate.block >= depth for gate in facts.gates):
            raise ValueError(f"it has gates of more than {depth} blocks")
        return LoadedTask(head, StoredDelta(_unpack(tensors, facts)), facts, source)
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"artifact {folder}: the files of {task} are damaged ({_first_line(error)})") from error


def read_facts(task: str, folder: Path) -> SubTaskFacts | None:
    """Return the table of a sub-task's difference; None for the base task.

    Raises:
        UsageError: the task's file is missing or damaged.
    """
    content = TaskFile.read(TaskFile.path(folder, task)).facts
    if not content:
        return None
    if (engine := content.get("engine")) is not None:
        raise UsageError(f"artifact {folder}: {task} was trained for engine={engine}, and runs with no other")
    try:
        facts = SubTaskFacts.model_validate(content)
        names = [row.name for row in facts.tensors]
        if len(set(names)) < len(names):
            raise ValueError("it has a weight twice")
    except ValueError as error:
        reason = first_fault(error) if isinstance(error, ValidationError) else _first_line(error)
        raise UsageError(f"artifact {folder}: the files of {task} are damaged ({reason})") from error
    return facts


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _pack(delta: Delta, values: Values) -> tuple[dict[str, Tensor], list[StoredTensor]]:
    """Return the tensors of a difference, codes and values each in one, and the table that takes them apart."""
    codes, kept, table = [], [], []
    for name, sparse in delta.sparse().items():
        places = sparse.index.cpu().numpy()
        layout = encode(tuple(sparse.shape), places, _TYPES[values].itemsize)
        codes.append(layout.code)
        # Values at the encoded places, which for whole channels include zeros.
        kept.append(sparse.dense().flatten().cpu()[torch.from_numpy(layout.places)].to(_TYPES[values]))
        table.append(
            StoredTensor(
                name=name,
                shape=tuple(sparse.shape),
                encoding=layout.encoding,
                code_bytes=layout.code.size,
                stored=layout.places.size,
                nonzero=places.size,
            )
        )
    return {_CODE: torch.from_numpy(np.concatenate(codes)), _VALUES: torch.cat(kept)}, table


def _unpack(tensors: Mapping[str, Tensor], facts: SubTaskFacts) -> dict[str, SparseTensor]:
    """Undo `_pack`.

    Raises:
        ValueError: the codes or values do not fit the table.
    """
    codes = tensors[_CODE].numpy()  # [bytes of all codes], uint8
    values = tensors[_VALUES]  # [values of all weights]
    if codes.dtype != np.uint8 or codes.ndim != 1 or values.dtype != _TYPES[facts.values] or values.ndim != 1:
        raise ValueError("the codes or the values are of another type than the table says")
    if not values.isfinite().all():
        raise ValueError("values are no finite numbers")
    if values.numel() != sum(row.stored for row in facts.tensors):
        raise ValueError("there are more or fewer values than the table says")
    if codes.size != sum(row.code_bytes for row in facts.tensors):
        raise ValueError("the codes have another length than the table says")
    found, code_at, value_at = {}, 0, 0
    for row in facts.tensors:
        code = codes[code_at : code_at + row.code_bytes]
        places = torch.from_numpy(decode(row.encoding, row.shape, np.ascontiguousarray(code)))
        stored = values[value_at : value_at + row.stored]
        if len(places) != len(stored):
            raise ValueError(f"{row.name} has {len(places)} places for {len(stored)} values")
        differs = stored != 0  # whole channels were stored with their zeros
        found[row.name] = SparseTensor(torch.Size(row.shape), places[differs], stored[differs])
        code_at, value_at = code_at + row.code_bytes, value_at + row.stored
    return found


def contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors as a file can hold them."""
    return {key: value.detach().cpu().contiguous() for key, value in tensors.items()}


def bytes_by_part(folder: Path, tasks: Iterable[str]) -> dict[str, int]:
    """Return the bytes of the artifact by part of the model: file sizes, headers and tables included."""
    parts = {"base": _file(folder / BASE).stat().st_size}
    for task in tasks:
        path = _file(folder / f"{task}.safetensors")
        whole = path.stat().st_size
        sizes = {key: value.numel() * value.element_size() for key, value in read_tensors(path).items()}
        head = sum(size for key, size in sizes.items() if key.startswith(HEAD))
        if _CODE in sizes:  # headers and tables exist for the difference's sake
            parts[f"delta/{task}"] = whole - head + TaskFile.path(folder, task).stat().st_size
            parts[f"head/{task}"] = head
        else:
            parts[f"head/{task}"] = whole + TaskFile.path(folder, task).stat().st_size
    return parts


def describe(folder: Path, tasks: Iterable[str]) -> dict[str, Any]:
    """Return densities per layer, and bytes per task and encoding, as ``harness show`` prints them."""
    described: dict[str, Any] = {}
    for task in tasks:
        facts = read_facts(task, folder)
        if facts is None:
            continue
        value_bytes = _TYPES[facts.values].itemsize
        encodings: Counter[str] = Counter()
        layers: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        # Every tensor counts for its encoding, and its elements for its layer: [non-zero, all].
        for row in facts.tensors:
            encodings[row.encoding] += row.code_bytes + value_bytes * row.stored
            layer = layers[layer_of(row.name)]
            layer[0] += row.nonzero
            layer[1] += math.prod(row.shape)
        described[task] = {
            "density": sum(row.nonzero for row in facts.tensors) / facts.encoder_elements,
            "density_by_layer": {name: nonzero / elements for name, (nonzero, elements) in layers.items()},
            "bytes_by_encoding": dict(encodings),
            "rows_by_block": {gate.block: gate.share for gate in facts.gates},
            "calibrated": facts.calibrated,
        }
    return {"sub_tasks": described, "bytes_by_part": bytes_by_part(folder, tasks)}


def _file(path: Path) -> Path:
    if not path.is_file():
        raise UsageError(f"artifact {path.parent}: {path.name} is missing; save it again")
    return path
