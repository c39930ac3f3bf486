"""Accounting of corrections: MACs by formula and by count, weights and tokens of a sub-task's own, per layer."""

import pandas as pd
from torch import Tensor

from harness.counting import MacReport, count_macs
from harness.methods.share.corrections.nets import CorrectedNets
from harness.methods.share.corrections.settings import Setting
from harness.methods.share.encoder import countable_elements, layer_of
from harness.records.costs import Sparsity


def report(nets: CorrectedNets, images: Tensor) -> MacReport:
    """Count the MACs of one forward pass of all tasks.

    Nothing is skipped element by element, so that all that is executed is non-zero. Dense is what as many separate
    networks would execute, with heads that read no pixels.

    Args:
        nets: In evaluation mode.
        images: [1, 3, H, W].
    """
    # Parts that are stacked serve all sub-tasks at once and count as `corrections`.
    executed = count_macs(lambda: nets(images), nets.parts())
    encoder = count_macs(lambda: nets.base(images)).macs
    heads = sum(macs for part, macs in executed.per_part.items() if part.startswith("head/"))
    return MacReport(executed=executed, dense=encoder * len(nets.problem.names) + heads, ideal=executed.macs)


def own_macs(nets: CorrectedNets, task: str, setting: Setting) -> int:
    """Return the MACs per image that a sub-task adds to base and head in a setting.

    With P patch tokens, N = P + 1, width D, rank r, m levels and C channels of the head's map:
    correction P D r (m + 1); detail 3 cell^2 C per cell; scores P D; and per own block 10 k D^2 + 2 k N D for k active
    tokens, or 12 N D^2 + 2 N^2 D where all tokens have keys and values of their own.
    """
    shape = nets.correction(task).shape
    height, width = nets.base.grid
    patches, d = height * width, shape.width
    total = 0
    if setting.corrected:
        total += patches * d * shape.rank * (len(shape.levels) + 1)
    if shape.cell_channels:
        rows, columns = (side // shape.cell for side in nets.problem.input_size)
        total += rows * columns * 3 * shape.cell**2 * shape.cell_channels
    if setting.first_block is None:
        return total
    # Own blocks: queries, projection and MLP of the active tokens, and attention over all keys
    blocks, everything = nets.depth - setting.first_block, patches + 1
    hidden = nets.correction(task).own(setting.first_block).fc1.out_features
    if shape.own_keys:
        return total + blocks * (everything * (4 * d * d + 2 * d * hidden) + 2 * everything**2 * d)
    k = setting.tokens(patches)
    return total + patches * d + blocks * (k * (2 * d * d + 2 * d * hidden) + 2 * k * everything * d)


def own_values(nets: CorrectedNets, task: str) -> dict[str, int]:
    """Return the weights that a sub-task has for itself beside its head, by layer of the encoder or by part."""
    values: dict[str, int] = {}
    parts = {"blocks": None, "norm": None, "detail": "detail"}  # None: a layer of the encoder
    for name, weight in nets.correction(task).named_parameters():
        layer = parts.get(name.split(".")[0], "correction") or layer_of(name)
        values[layer] = values.get(layer, 0) + weight.numel()
    return values


def layer_statistics(nets: CorrectedNets) -> dict[str, pd.DataFrame]:
    """Return, per layer and sub-task, the weights of its own and the fraction of active tokens.

    Weights of a layer are a fraction of that layer's; of the parts that no layer of the encoder has, the correction
    and the detail, of the whole encoder's.
    """
    layers: dict[str, int] = {}
    for name, weight in nets.base.vit.named_parameters():
        if name != "pos_embed":
            layers[layer_of(name)] = layers.get(layer_of(name), 0) + weight.numel()
    whole = dict.fromkeys(("correction", "detail"), countable_elements(nets.base))
    sizes = layers | whole
    weights, active = {}, {}
    for task in nets.corrections:
        values = own_values(nets, task)
        weights[task] = {layer: min(1.0, values.get(layer, 0) / size) for layer, size in sizes.items()}
        active[task] = active_by_block(nets, task)
    return {"weights of their own": pd.DataFrame(weights), "active tokens": pd.DataFrame(active)}


def active_by_block(nets: CorrectedNets, task: str) -> dict[str, float]:
    """Return the fraction of patch tokens that go through each block for a sub-task; 0 where it has no own block."""
    setting = nets.settings[task]
    patches = nets.base.grid[0] * nets.base.grid[1]
    first = nets.depth if setting.first_block is None else setting.first_block
    return {
        f"block {index}": setting.tokens(patches) / patches if index >= first else 0.0 for index in range(nets.depth)
    }


def sparsity(nets: CorrectedNets) -> dict[str, Sparsity]:
    """Return, per task, the values kept for it as a fraction of the encoder's weights, and its active tokens."""
    found = {}
    whole = countable_elements(nets.base)
    for task in nets.problem.names:
        if task not in nets.corrections:
            found[task] = Sparsity(weight_density=1, active_rows=1)
            continue
        active = active_by_block(nets, task)
        density = min(1.0, sum(own_values(nets, task).values()) / whole)
        found[task] = Sparsity(weight_density=density, active_rows=sum(active.values()) / len(active))
    return found
