"""What sharing saves: dense, ideal, executed and simulated MACs, and shares per layer.

Per linear layer with N rows, d_in inputs and d_out outputs, the ideal count of a sub-task is
nnz(dX) d_out + N nnz(dW): the changed inputs act on all outputs, and the changed weights act on every row, whether or
not an engine computes them (rows below a gate leave the second term out).
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import Tensor

from harness.counting import MacReport, count_macs
from harness.methods.share.delta import SparseTensor
from harness.methods.share.encoder import EMBEDDING, FROZEN, layer_of
from harness.methods.share.execution import SITES, Clamped
from harness.methods.share.model import BaseRun, SharedNets
from harness.methods.share.rows import Rows
from harness.records.costs import Sparsity


class GateLog:
    """Remembers what gates let through: an `Observer`.

    Attributes:
        rows: (block, input) to the share of rows that are active.
        nonzero: (block, input) to the non-zero changes in these rows, of one image on average.
        elements: (block, input) to all values of the input, of one image.
    """

    def __init__(self) -> None:
        self.rows: dict[tuple[int, str], float] = {}
        self.nonzero: dict[tuple[int, str], float] = {}
        self.elements: dict[tuple[int, str], int] = {}

    def __call__(self, index: int, site: str, rows: Rows | None, change: Tensor) -> None:
        """Remember one gate."""
        images, count, width = change.shape
        active = change if rows is None else rows.take(change)
        self.rows[index, site] = active.shape[1] / count
        self.nonzero[index, site] = float(active.count_nonzero()) / images
        self.elements[index, site] = count * width


def report(model: SharedNets, images: Tensor) -> MacReport:
    """Count the MACs of one forward pass of all tasks.

    Dense is what as many separate networks would execute. The embedding of a sub-task that differs in it is taken as
    dense everywhere.

    Args:
        model: In evaluation mode.
        images: [1, 3, H, W].
    """
    executed = count_macs(lambda: model(images), model.parts())
    encoder = count_macs(lambda: model.run_base(images, (), "nothing")).macs
    heads = sum(macs for part, macs in executed.per_part.items() if part.startswith("head/"))
    ideal = simulated = encoder + heads
    for task in model.deltas:
        base = model.run_base(images, (task,), "all")
        embedding = _embedding_macs(model, task, images)
        ideal += embedding + round(_ideal(model, task, base, images))
        simulated += embedding + round(_simulated(model, task, base, images))
    return MacReport(
        executed=executed, dense=encoder * len(model.problem.names) + heads, ideal=ideal, simulated=simulated
    )


def _ideal(model: SharedNets, task: str, base: BaseRun, images: Tensor) -> float:
    """Return the non-zero multiplies of a sub-task's blocks."""
    log = watch_gates(model, task, base, images)
    nonzero = {name: sparse.index.numel() for name, sparse in model.delta(task).sparse().items()}
    total = 0.0
    for index in model.own_blocks(task):
        count, width = base.activations[index].norm1.shape[1:]
        shape = _Shape(count, width, model.weights_of(task)[f"blocks.{index}.mlp.fc1.weight"].shape[0])
        active = {site: log.rows.get((index, site), log.rows[index, "qkv"]) for site in SITES}
        total += 2 * count * count * width * (active["qkv"] if model.options.queries == "active" else 1)
        changes = {
            "qkv": log.nonzero[index, "qkv"],
            "proj": log.nonzero.get((index, "proj"), active["proj"] * count * width),
            "fc1": log.nonzero[index, "mlp"],
            "fc2": active["mlp"] * count * shape.hidden,  # of active rows all hidden values change
        }
        for product, (name, _, outputs) in shape.products().items():
            total += changes[product] * outputs + count * nonzero.get(f"blocks.{index}.{name}.weight", 0)
    return total


def _simulated(model: SharedNets, task: str, base: BaseRun, images: Tensor) -> float:
    """Return what the paper's thresholds would leave of a sub-task's blocks if clamped outputs cost nothing."""
    kept: dict[tuple[int, str], float] = {}
    model.run_sub(task, base, images, Clamped(base.activations, base.hidden, model.options.threshold, kept))
    total = 0.0
    for index in model.own_blocks(task):
        count, width = base.activations[index].norm1.shape[1:]
        shape = _Shape(count, width, model.weights_of(task)[f"blocks.{index}.mlp.fc1.weight"].shape[0])
        total += 2 * count * count * width
        for product, (_, inputs, outputs) in shape.products().items():
            total += kept[index, product] * count * inputs * outputs
    return total


@dataclass(frozen=True)
class _Shape:
    rows: int
    width: int
    hidden: int

    def products(self) -> dict[str, tuple[str, int, int]]:
        """Return the linear layers of a block: key to (timm's name, inputs, outputs)."""
        return {
            "qkv": ("attn.qkv", self.width, 3 * self.width),
            "proj": ("attn.proj", self.width, self.width),
            "fc1": ("mlp.fc1", self.width, self.hidden),
            "fc2": ("mlp.fc2", self.hidden, self.width),
        }


def _embedding_macs(model: SharedNets, task: str, images: Tensor) -> int:
    if model.start_of(task) != EMBEDDING:
        return 0
    return count_macs(lambda: model.functional.embed(model.weights_of(task), images)).macs


def watch_gates(model: SharedNets, task: str, base: BaseRun, images: Tensor) -> GateLog:
    """Run a sub-task with rows gated and return what its gates let through."""
    log = GateLog()
    model.run_sub(task, base, images, model.gated(task, base, log))
    return log


def layer_statistics(model: SharedNets, images: Tensor) -> dict[str, pd.DataFrame]:
    """Return, per layer and sub-task, the density of the weight difference and what the gates let through.

    Args:
        model: In evaluation mode.
        images: [B, 3, H, W].
    """
    weights, rows, changes = {}, {}, {}
    for task in model.deltas:
        weights[task] = density_by_layer(model.delta(task).sparse(), model)
        base = model.run_base(images, (task,), "all")
        log = watch_gates(model, task, base, images)
        rows[task] = _by_block(model, log.rows)
        changes[task] = _by_block(model, {key: log.nonzero[key] / log.elements[key] for key in log.rows})
    return {
        "non-zero weight differences": pd.DataFrame(weights),
        "active rows": pd.DataFrame(rows),
        "non-zero input changes": pd.DataFrame(changes),
    }


def sparsity(model: SharedNets, images: Tensor) -> dict[str, Sparsity]:
    """Return, per task, the share of the encoder's weights that are kept for it and of the rows computed for it.

    Args:
        model: In evaluation mode.
        images: [B, 3, H, W].
    """
    found = {}
    for task in model.problem.names:
        if task not in model.deltas:
            found[task] = Sparsity(weight_density=1, active_rows=1)
            continue
        nonzero = sum(sparse.index.numel() for sparse in model.delta(task).sparse().values())
        rows = 1.0
        if model.options.mode == "gated":
            log = watch_gates(model, task, model.run_base(images, (task,), "all"), images)
            rows = float(np.mean(list(_by_block(model, log.rows).values())))
        found[task] = Sparsity(weight_density=nonzero / model.countable, active_rows=rows)
    return found


def density_by_layer(sparse: Mapping[str, SparseTensor], model: SharedNets) -> dict[str, float]:
    """Return the share of weights that differ, by layer of the encoder; 0 where a layer is taken over unchanged."""
    elements: dict[str, int] = defaultdict(int)
    nonzero: dict[str, int] = defaultdict(int)
    for name, weight in model.base_weights.items():
        if name in FROZEN:
            continue
        layer = layer_of(name, model.functional.depth)
        elements[layer] += weight.numel()
        nonzero[layer] += sparse[name].index.numel() if name in sparse else 0
    return {layer: nonzero[layer] / count for layer, count in elements.items()}


def _by_block(model: SharedNets, log: Mapping[tuple[int, str], float]) -> dict[str, float]:
    """Return the mean over the gated inputs of a block; 0 where a block is taken over unchanged."""
    return {
        f"block {index}": float(np.mean([value for (block, _), value in log.items() if block == index] or [0.0]))
        for index in range(model.functional.depth)
    }
