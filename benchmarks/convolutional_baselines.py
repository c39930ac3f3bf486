"""Time of the baselines per image, beside the same networks run straightforwardly.

The straightforward side shares the weights: task after task, maps with channels first, as the papers describe it. Both
must give the same predictions, and take turns, so that what disturbs the machine disturbs both.

    python benchmarks/convolutional_baselines.py [--threads 1] [--device cpu] [--batch 1] [--record FILE] [NAME...]
"""

from collections.abc import Sequence

import torch
from beside_plain import NYUD, PASCAL, Case, main, resized
from torch import Tensor
from torch.nn import functional as F

from harness.baselines.atrc.genotype import Kind
from harness.baselines.atrc.model import ATRCNet, over_space, padding_of
from harness.baselines.common.interaction import Distillation
from harness.baselines.common.parallel import ParallelNets
from harness.baselines.common.tasks import key_of
from harness.baselines.cross_stitch import CrossStitchNets
from harness.baselines.mtan import AttentionNet
from harness.baselines.mti_net import FeaturePropagation, MultiScaleNet
from harness.baselines.multi_task import SharedEncoder
from harness.baselines.nddr_cnn import NDDRNets
from harness.baselines.pad_net import DistillationNet
from harness.problem import Problem

Maps = dict[str, Tensor]
"""Maps by task, under the reference's names."""


def concatenated(maps: Sequence[Tensor]) -> Tensor:
    """Bring all maps to the size of the first."""
    return torch.cat([maps[0], *(resized(map_, maps[0].shape[-2:]) for map_ in maps[1:])], dim=1)


def shared_hrnet(model: SharedEncoder, images: Tensor) -> dict[str, Tensor]:
    """Predict all tasks from an HRNet; every head brings the maps together for itself."""
    maps = model.backbone.scales(images)
    return {task: model.decoders[key_of(task)](concatenated(maps)) for task in model.problem.names}


def distilled(module: Distillation, maps: Maps, task: str) -> Tensor:
    """Distil for one task, two convolutions for each of the others."""
    total = maps[task]
    for source, message in module.self_attention[task].items():
        total = total + message.conv(maps[source]) * message.attention(maps[source]).sigmoid()
    return total


def propagated(module: FeaturePropagation, maps: Maps) -> Maps:
    """Propagate as `FeaturePropagation` does, with an excitation of its own for every task."""
    x = torch.cat(list(maps.values()), dim=1)
    groups = (x.shape[1] // len(maps), len(maps))
    mask = torch.softmax(module.non_linear(x).unflatten(1, groups), dim=2)
    shared = module.dimensionality_reduction((mask * x.unflatten(1, groups)).flatten(1, 2))
    return {task: module.se[task](shared.mean(dim=(2, 3))) * shared + map_ for task, map_ in maps.items()}


def mti_net(model: MultiScaleNet, images: Tensor) -> dict[str, Tensor]:
    """Predict all tasks as the paper of MTI-Net describes it."""
    levels = (3, 2, 1, 0)
    encoded, coarser, features = model.backbone.scales(images), None, {}
    for level in levels:
        scale, own = getattr(model, f"scale_{level}"), encoded[level]
        inputs = {
            task: own if coarser is None else torch.cat([own, resized(coarser[task], own.shape[-2:])], dim=1)
            for task in scale.refinement
        }
        features[level] = {task: refine(inputs[task]) for task, refine in scale.refinement.items()}
        if level:
            coarser = propagated(getattr(model, f"fpm_scale_{level}"), features[level])
    predictions = {}
    for name in model.problem.names:
        key = key_of(name)
        maps = [distilled(getattr(model, f"distillation_scale_{i}"), features[i], key) for i in reversed(levels)]
        predictions[name] = model.heads[key](concatenated(maps))
    return predictions


def pad_net(model: DistillationNet, images: Tensor) -> dict[str, Tensor]:
    """Predict all tasks as the paper of PAD-Net describes it."""
    shared = model.backbone[1](concatenated(model.backbone[0].scales(images)))
    features = {task: layers(shared) for task, layers in model.initial_task_prediction_heads.layers.items()}
    predictions = {}
    for name in model.problem.names:
        map_ = distilled(model.multi_modal_distillation, features, key_of(name))
        predictions[name] = resized(model.heads[key_of(name)](map_), model.problem.input_size)
    return predictions


def advanced(model: ParallelNets, maps: Maps, level: int) -> Maps:
    """Run the stem or a stage of every task's encoder."""
    return {key: model.backbone[key].sections[level](map_) for key, map_ in maps.items()}


def decoded(model: ParallelNets, maps: Maps) -> dict[str, Tensor]:
    """Run every task's head."""
    return {name: model.heads[key_of(name)](maps[key_of(name)]) for name in model.problem.names}


def cross_stitch(model: CrossStitchNets, images: Tensor) -> dict[str, Tensor]:
    """Predict all tasks as the paper of cross-stitch networks describes it, one product for each pair of tasks."""
    maps = advanced(model, dict.fromkeys(model.backbone, images), 0)
    for level, unit in enumerate(model.cross_stitch.values(), 1):
        own = advanced(model, maps, level)
        maps = {
            key: torch.stack([row[other].param[:, None, None] * map_ for other, map_ in own.items()]).sum(0)
            for key, row in unit.cross_stitch_unit.items()
        }
    return decoded(model, maps)


def nddr_cnn(model: NDDRNets, images: Tensor) -> dict[str, Tensor]:
    """Predict all tasks as the paper of NDDR-CNN describes it, every task with a concatenation of its own."""
    maps = dict.fromkeys(model.backbone, images)
    for level, unit in enumerate(model.nddr.values()):
        own = advanced(model, maps, level)
        maps = {key: layer(torch.cat(list(own.values()), dim=1)) for key, layer in unit.layer.items()}
    return decoded(model, maps)


def mtan(model: AttentionNet, images: Tensor) -> dict[str, Tensor]:
    """Predict all tasks as the paper of MTAN describes it, all tasks stage by stage."""
    shared, attended = model.backbone.stem(images), dict[str, Tensor]()
    for number, stage in enumerate(model.backbone.stages, 1):
        before = stage[:-1](shared)
        shared = stage[-1](before)
        masks = getattr(model, f"attention_{number}")
        inputs = {key: torch.cat([before, *([attended[key]] if attended else [])], dim=1) for key in masks}
        attended = {key: mask(inputs[key]) * shared for key, mask in masks.items()}
        if number < 4:
            refine = getattr(model, f"refine_{number}")
            attended = {key: refine(map_) for key, map_ in attended.items()}
        if number == 1:
            attended = {key: F.max_pool2d(map_, 2) for key, map_ in attended.items()}
    return {name: model.heads[key_of(name)](attended[key_of(name)]) for name in model.problem.names}


def atrc(model: ATRCNet, images: Tensor) -> dict[str, Tensor]:
    """Predict all tasks as the paper of ATRC describes it: regions of every pair on their own."""
    head, contexts = model.head, model.head.atrc_module
    map_ = concatenated(model.backbone.scales(images))
    padded = padding_of(images, map_)
    features = {key: narrow(map_) for key, narrow in head.bottleneck.items()}
    coarse = {key: head.aux_logits[key](layer(map_)) for key, layer in head.aux_conv.items()}
    predictions = {}
    for name in model.problem.names:
        key, read = key_of(name), []
        for source, context in contexts.cp_blocks[key].items():
            seen = features[source]
            if context.kind is not Kind.GLOBAL:
                label = key if context.kind is Kind.TARGET_LABEL else source
                probabilities = over_space(coarse[label], padded)
                seen = (features[source].flatten(2) @ probabilities.transpose(1, 2))[..., None]
            read.append(context(features[key], seen))
        joined = torch.cat([features[key], contexts.out_proj[key](torch.cat(read, dim=1))], dim=1)
        predictions[name] = resized(head.final_logits[key](contexts.bottleneck[key](joined)), images.shape[-2:])
    return predictions


CASES = {
    "atrc-nyud-micro": Case("atrc", "hrnet-micro", Problem(NYUD, (112, 144)), atrc),
    "atrc-pascal-micro": Case("atrc", "hrnet-micro", Problem(PASCAL, (96, 96)), atrc),
    "atrc-nyud": Case("atrc", "hrnet18-small", Problem(NYUD, (448, 576)), atrc),
    "multi-task-nyud-hrnet-micro": Case("multi-task", "hrnet-micro", Problem(NYUD, (112, 144)), shared_hrnet),
    "multi-task-nyud-hrnet": Case("multi-task", "hrnet18-small", Problem(NYUD, (448, 576)), shared_hrnet),
    "mti-net-nyud-micro": Case("mti-net", "hrnet-micro", Problem(NYUD, (112, 144)), mti_net),
    "mti-net-nyud": Case("mti-net", "hrnet18-small", Problem(NYUD, (448, 576)), mti_net),
    "pad-net-nyud-micro": Case("pad-net", "hrnet-micro", Problem(NYUD, (112, 144)), pad_net),
    "pad-net-pascal": Case("pad-net", "hrnet18-small", Problem(PASCAL, (512, 512)), pad_net),
    "cross-stitch-nyud-micro": Case("cross-stitch", "resnet-micro", Problem(NYUD, (112, 144)), cross_stitch),
    "cross-stitch-pascal": Case("cross-stitch", "resnet18", Problem(PASCAL, (512, 512)), cross_stitch),
    "nddr-cnn-nyud-micro": Case("nddr-cnn", "resnet-micro", Problem(NYUD, (112, 144)), nddr_cnn),
    "nddr-cnn-pascal": Case("nddr-cnn", "resnet18", Problem(PASCAL, (512, 512)), nddr_cnn),
    "mtan-nyud-micro": Case("mtan", "resnet-micro", Problem(NYUD, (112, 144)), mtan),
    "mtan-pascal": Case("mtan", "resnet18", Problem(PASCAL, (512, 512)), mtan),
}
QUICK = tuple(name for name in CASES if name.endswith("-micro"))


if __name__ == "__main__":
    main(__doc__, CASES, QUICK)
