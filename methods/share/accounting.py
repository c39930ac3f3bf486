"""Accounting of the sharing method: dense, ideal, executed and simulated MACs, and densities per layer.

Per linear layer with N rows, d_in inputs and d_out outputs, the ideal count of a sub-task is
nnz(dX) d_out + N nnz(dW): the changed inputs act on all outputs, and the changed weights act on every row, whether or
not an engine computes them (for inactive tokens the second term is left out).
"""

from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from itertools import product as pairs

import numpy as np
import pandas as pd
from torch import Tensor

from harness.counting import MacReport, count_macs
from harness.methods.share.block import Product, Site
from harness.methods.share.delta import SparseTensor
from harness.methods.share.encoder import FROZEN, layer_of
from harness.methods.share.execution import Clamped, Reference, Tokens
from harness.methods.share.model import SharedNets
from harness.records.costs import Sparsity


class GateLog:
    """An `Observer` that remembers the decisions of gates.

    Attributes:
        active: (block, input) to the fraction of tokens that are active.
        nonzero: (block, input) to the non-zero changes in these tokens, of one image on average.
        elements: (block, input) to all values of the input, of one image.
    """

    def __init__(self) -> None:
        self.active: dict[tuple[int, Site], float] = {}
        self.nonzero: dict[tuple[int, Site], float] = {}
        self.elements: dict[tuple[int, Site], int] = {}

    def __call__(self, index: int, site: Site, tokens: Tokens | None, change: Tensor) -> None:
        """Remember one decision."""
        images, count, width = change.shape
        active = change if tokens is None else tokens.take(change)  # [B, k, C]
        self.active[index, site] = active.shape[1] / count
        self.nonzero[index, site] = float(active.count_nonzero()) / images
        self.elements[index, site] = count * width


def report(model: SharedNets, images: Tensor) -> MacReport:
    """Count the MACs of one forward pass of all tasks.

    Dense is what as many separate networks would execute. The embedding of a sub-task that differs in it, and the
    merging of its tokens, are taken as dense everywhere.

    Args:
        model: In evaluation mode.
        images: [1, 3, H, W].
    """
    # 1. Executed: counted by the operators that run. The base's encoder and the heads are in every other count too.
    model(images)  # merges weights and stacks them, which is no part of a forward pass
    with model.one_by_one():
        executed = count_macs(lambda: model(images), model.parts())
    encoder = count_macs(lambda: model.run_base(images, (), "nothing")).macs
    separate = count_macs(
        lambda: model.base(images)
    ).macs  # with the products of padding, which the base here leaves out
    heads = sum(macs for part, macs in executed.per_part.items() if part.startswith("head/"))
    # 2. Ideal and simulated: the base in full, and every sub-task by formula.
    ideal = simulated = encoder + heads
    for task in model.deltas:
        base = model.run_base(images, (task,), "all")
        whole = _embedding_macs(model, task, images) + _merging_macs(model, task, base)
        ideal += whole + round(_ideal(model, task, images))
        simulated += whole + round(_simulated(model, task, base, images))
    # 3. Dense: one encoder per task.
    return MacReport(
        executed=executed, dense=separate * len(model.problem.names) + heads, ideal=ideal, simulated=simulated
    )


def _ideal(model: SharedNets, task: str, images: Tensor) -> float:
    """Return the non-zero multiplies of a sub-task's blocks."""
    log = watch_gates(model, task, images)
    sparse = model.delta(task).sparse()
    total = 0.0
    for index in model.own_part(task).blocks:
        layers = _layers(model, task, index)
        width = layers[Product.QKV].shape[1]
        count = log.elements[index, Site.QKV] // width
        # Where one gate serves qkv and proj, the decision at proj is that at qkv.
        active = {site: log.active.get((index, site), log.active[index, Site.QKV]) for site in Site}
        # Attention: q k^T and the weighted sum of values, 2 D per pair of a query and a key.
        asked = model.functional.pairs(index)
        total += 2 * asked * width * (active[Site.QKV] if model.options.queries == "active" else 1)
        changes = {  # nnz(dX) of each product
            Product.QKV: log.nonzero[index, Site.QKV],
            Product.PROJ: log.nonzero.get((index, Site.PROJ), active[Site.PROJ] * count * width),
            Product.FC1: log.nonzero[index, Site.MLP],
            # of active tokens all hidden values change
            Product.FC2: active[Site.MLP] * count * layers[Product.FC2].shape[1],
        }
        for product, weight in layers.items():
            outputs = weight.shape[0]
            if product is Product.QKV and model.asks_base(active[Site.QKV]):
                outputs = width  # queries alone
            # nnz(dX) d_out + N nnz(dW), of the weights that are multiplied at all
            held = sparse.get(f"{model.functional.prefix(index)}{product.timm_name}.weight")
            differing = 0 if held is None else int((held.index < outputs * weight.shape[1]).sum())
            total += changes[product] * outputs + count * differing
    return total


def _simulated(model: SharedNets, task: str, base: Reference, images: Tensor) -> float:
    """Return what the paper's thresholds would leave of a sub-task's blocks if clamped outputs cost nothing."""
    kept: dict[tuple[int, Product], float] = {}
    model.run_sub(task, base, images, Clamped(base, model.options.threshold, kept))
    total = 0.0
    for index in model.own_part(task).blocks:
        count, width = base.activations[index].norm1.shape[1:]
        total += 2 * model.functional.pairs(index) * width  # attention is never clamped
        for product, weight in _layers(model, task, index).items():
            outputs, inputs = weight.shape
            total += kept[index, product] * count * inputs * outputs
    return total


def _layers(model: SharedNets, task: str, index: int) -> dict[Product, Tensor]:
    """Return the weights [d_out, d_in] of a block's products."""
    weights = model.weights_of(task)
    return {product: weights[f"{model.functional.prefix(index)}{product.timm_name}.weight"] for product in Product}


def _embedding_macs(model: SharedNets, task: str, images: Tensor) -> int:
    if not model.own_part(task).embedding:
        return 0
    return count_macs(lambda: model.functional.embed(model.weights_of(task), images)).macs


def _merging_macs(model: SharedNets, task: str, base: Reference) -> int:
    """Return the MACs of the merging of tokens before a sub-task's own blocks."""
    weights, functional = model.weights_of(task), model.functional
    starts = [one.blocks.start for one in functional.resolutions[1:] if one.blocks.start in model.own_part(task).blocks]
    return sum(count_macs(partial(functional.enter, weights, at, base.entries[at])).macs for at in starts)


def watch_gates(model: SharedNets, task: str, images: Tensor) -> GateLog:
    """Return the decisions of a sub-task's gates; the engine of tokens makes none that the image decides."""
    log = GateLog()
    if model.options.engine == "tokens":
        counts = zip(model.own_part(task).blocks, model.active_counts(task), strict=True)
        for (index, count), site in pairs(counts, Site):
            resolution = model.functional.resolution(index)
            tokens, width = resolution.tokens, resolution.width
            log.active[index, site] = count / tokens
            log.nonzero[index, site] = count * width  # every channel of an active token counts as changed
            log.elements[index, site] = tokens * width
        return log
    base = model.run_base(images, (task,), "all")
    model.run_sub(task, base, images, model.gated(task, base, log))
    return log


def layer_statistics(model: SharedNets, images: Tensor) -> dict[str, pd.DataFrame]:
    """Return, per layer and sub-task, the density of the weight difference, of active tokens and of input changes.

    Args:
        model: In evaluation mode.
        images: [B, 3, H, W].
    """
    weights, active, changes = {}, {}, {}
    for task in model.deltas:
        weights[task] = density_by_layer(model.delta(task).sparse(), model)
        log = watch_gates(model, task, images)
        active[task] = _by_block(model, log.active)
        changes[task] = _by_block(model, {key: log.nonzero[key] / log.elements[key] for key in log.active})
    return {
        "non-zero weight differences": pd.DataFrame(weights),
        "active rows": pd.DataFrame(active),
        "non-zero input changes": pd.DataFrame(changes),
    }


def sparsity(model: SharedNets, images: Tensor) -> dict[str, Sparsity]:
    """Return, per task, the fraction of the encoder's weights kept for it and of the tokens computed for it.

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
        active = 1.0
        if model.options.mode == "gated":
            log = watch_gates(model, task, images)
            active = float(np.mean(list(_by_block(model, log.active).values())))
        found[task] = Sparsity(weight_density=nonzero / model.countable, active_rows=active)
    return found


def density_by_layer(sparse: Mapping[str, SparseTensor], model: SharedNets) -> dict[str, float]:
    """Return the fraction of weights that differ, by layer of the encoder; 0 where a layer is taken over unchanged."""
    elements: dict[str, int] = defaultdict(int)
    nonzero: dict[str, int] = defaultdict(int)
    for name, weight in model.base_weights.items():
        if name in FROZEN:
            continue
        layer = layer_of(name)
        elements[layer] += weight.numel()
        nonzero[layer] += sparse[name].index.numel() if name in sparse else 0
    return {layer: nonzero[layer] / count for layer, count in elements.items()}


def _by_block(model: SharedNets, log: Mapping[tuple[int, Site], float]) -> dict[str, float]:
    """Return the mean over the gated inputs of a block; 0 where a block is taken over unchanged."""
    return {
        layer_of(model.functional.prefix(index)): float(
            np.mean([value for (block, _), value in log.items() if block == index] or [0.0])
        )
        for index in range(model.functional.depth)
    }
