"""Time of the baselines that decode a ViT per image, beside the same networks run straightforwardly.

The straightforward side shares the weights and runs heads, windows, experts and levels one after the other, all
experts for all images, as the papers describe them. Both must give the same predictions, and take turns, so that what
disturbs the machine disturbs both.

    python benchmarks/vit_decoders.py [--threads 1] [--device cpu] [--batch 1] [--record FILE] [NAME...]
"""

import torch
from beside_plain import NYUD, PASCAL, Case, main, resized
from torch import Tensor
from torch.nn import functional as F

from harness.baselines.common.tasks import key_of
from harness.baselines.mlore.experts import Mixture
from harness.baselines.mlore.model import MLoRENet
from harness.baselines.sak.model import SAKNet
from harness.baselines.taskprompter.model import TaskPrompterNet
from harness.baselines.taskprompter.prompting import PromptedBlock
from harness.problem import Problem

Maps = dict[str, Tensor]
"""Maps by task, under the reference's names."""


def as_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Map tokens [B, N, C] to [B, C, h, w]."""
    return tokens.transpose(1, 2).unflatten(2, grid)


def decoded(model: TaskPrompterNet | MLoRENet, features: Maps) -> dict[str, Tensor]:
    """Enlarge the features of every task and predict."""
    predictions = {}
    for task in model.problem.names:
        map_ = features[key_of(task)]
        large = resized(map_, (4 * map_.shape[2], 4 * map_.shape[3]))
        predictions[task] = model.heads[key_of(task)](large, model.problem.input_size)
    return predictions


def prompted(block: PromptedBlock, patches: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Run a block; return patches, prompts, all scores, channel prompts and normed patches."""
    attention = block.attn
    p, x = block.norm1(prompts), block.norm1(patches)
    query, key, value = (
        part.unflatten(2, (attention.heads, -1)).transpose(1, 2)
        for part in attention.qkv(torch.cat([p, x], dim=1)).chunk(3, dim=2)
    )
    scores = query @ key.transpose(-2, -1)
    mixed = (scores * query.shape[-1] ** -0.5).softmax(-1) @ value
    out = attention.proj(mixed.transpose(1, 2).flatten(2))
    maps = attention.token_trans(p)
    count = prompts.shape[1]
    prompts = prompts + out[:, :count] + attention.token_trans1(maps)
    patches = patches + out[:, count:]
    patches = patches + block.mlp(block.norm2(patches))
    return patches, prompts + block.mlp(block.norm2(prompts)), scores, maps, x


def taskprompter(model: TaskPrompterNet, images: Tensor) -> dict[str, Tensor]:
    """Predict all tasks as the paper of TaskPrompter describes it."""
    backbone = model.backbone
    grid, count, side, level = backbone.grid, len(backbone.keys), backbone.side, 0
    rows, columns = grid[0] // side, grid[1] // side
    patches, prompts = backbone.embed(images), backbone.task_prompts.repeat(len(images), 1, 1)
    totals: Maps = {}
    for number, block in enumerate(backbone.blocks, 1):
        patches, prompts, scores, maps, x = prompted(block, patches, prompts)
        if number not in backbone.taps:
            continue
        map_ = as_map(backbone.norm(patches) if number == len(backbone.blocks) else patches, grid)
        features = []
        for t, key in enumerate(backbone.keys):
            spatial = [
                part * scores[:, head, t, count:].unflatten(1, grid)[:, None]
                for head, part in enumerate(map_.chunk(scores.shape[1], dim=1))
            ]
            channel = torch.zeros_like(map_)
            for i in range(side):
                for j in range(side):
                    at = (..., slice(i * rows, (i + 1) * rows), slice(j * columns, (j + 1) * columns))
                    weights = maps[:, t].unflatten(1, grid)[at].flatten(1)[:, None] @ as_map(x, grid)[at].flatten(
                        2
                    ).transpose(1, 2)
                    channel[at] = map_[at] * weights[:, 0, :, None, None]
            joint = (
                backbone.fea_decode_spa[level][key](torch.cat(spatial, dim=1) + map_),
                backbone.fea_decode_chan[level][key](channel + map_),
            )
            features.append(backbone.fea_fuse[level][key](torch.cat(joint, dim=1)))
        for t, key in enumerate(backbone.keys):
            own = features[t]
            if backbone.mixed:
                weights = backbone.ctr_attn_conv[level][key](scores[:, :, t, None, :count])[:, 0, 0]
                own = sum(weights[:, s, None, None, None] * features[s] for s in range(count))
            totals[key] = totals.get(key, 0) + own
        level += 1
    return decoded(model, totals)


def mixture(module: Mixture, map_: Tensor, key: str) -> Tensor:
    """Run a mixture for one task: all experts on all images, one after the other."""
    o = module.conv1[key](map_)
    weights, mix = module.router_1[key](o, module.widths.topk, module.widths.pre_softmax)
    total = torch.zeros_like(o)
    for number, expert in enumerate(module.lora_list_1):
        total = total + weights[:, number, None, None, None] * expert(o)
    y = module.bn_all[key](total) + mix[..., None, None] * module.conv2[key](o) + module.share_conv(o.detach())
    return module.conv3[key](F.gelu(module.bn[key](y)))


def mlore(model: MLoRENet, images: Tensor) -> dict[str, Tensor]:
    """Predict all tasks as the paper of MLoRE describes it."""
    backbone = model.backbone
    tokens, by_level = backbone.embed(images), []
    for number, block in enumerate(backbone.blocks, 1):
        tokens = block(tokens)
        if number in backbone.taps:
            read = backbone.norm(tokens) if number == len(backbone.blocks) else tokens
            by_level.append(backbone.fea_fuse[len(by_level)](as_map(read, backbone.grid)))
    features: Maps = {}
    for key in model.heads:
        maps = []
        for first, second, map_ in zip(backbone.MLoRE_1, backbone.MLoRE_2, by_level, strict=True):
            maps.append(mixture(second, mixture(first, map_, key), key))
        mask = backbone.task_mask[key](torch.cat(maps, dim=1)).softmax(1)
        features[key] = sum(mask[:, level, None] * map_ for level, map_ in enumerate(maps))
    return decoded(model, features)


def sak(model: SAKNet, images: Tensor) -> dict[str, Tensor]:
    """Predict all tasks as the paper of SAK describes it."""
    student, vit, size = model.backbone, model.backbone.vit, model.problem.input_size
    patches = vit.patch_embed(images)
    tokens = torch.cat([vit.cls_token.expand(len(patches), -1, -1), patches], dim=1) + vit.pos_embed
    paths = {name: adapters[0](tokens) for name, adapters in student.tsap.items()}
    levels: dict[str, list[Tensor]] = {key: [] for key in model.heads}
    for number, block in enumerate(vit.blocks):
        tokens = block(tokens)
        paths = {name: adapters[number + 1](paths[name] + tokens) for name, adapters in student.tsap.items()}
        if number in student.taps:
            sources = [tokens[:, 1:]]
            sources += [student.out_norms[f"{number}_{name}"](path[:, 1:]) for name, path in paths.items()]
            for key in model.heads:
                logits = student.mor[f"{number}_{key}"].router.module(sources[0]).mean(1)[:, : len(sources)]
                weighted = torch.stack(sources, dim=1) * logits.softmax(1)[..., None, None]
                levels[key].append(weighted.sum(1))
    predictions = {}
    for task in model.problem.names:
        head = model.heads[key_of(task)]
        maps = [
            resized(as_map(layer(tokens), student.grid), (size[0] // 4, size[1] // 4))
            for layer, tokens in zip(head.linears, levels[key_of(task)], strict=True)
        ]
        predictions[task] = resized(head.last_conv(head.linear_fuse(torch.cat(maps, dim=1))), size)
    return predictions


CASES = {
    "taskprompter-nyud-micro": Case("taskprompter", "vit-micro", Problem(NYUD, (96, 128)), taskprompter),
    "taskprompter-nyud-tiny": Case("taskprompter", "vit-t16", Problem(NYUD, (448, 576)), taskprompter),
    "taskprompter-pascal-tiny": Case("taskprompter", "vit-t16", Problem(PASCAL, (256, 256)), taskprompter),
    "taskprompter-nyud-large": Case("taskprompter", "vit-l16", Problem(NYUD, (448, 576)), taskprompter),
    "mlore-nyud-micro": Case("mlore", "vit-micro", Problem(NYUD, (112, 144)), mlore),
    "mlore-nyud-tiny": Case("mlore", "vit-t16", Problem(NYUD, (448, 576)), mlore),
    "mlore-pascal-base": Case("mlore", "vit-b16", Problem(PASCAL, (512, 512)), mlore),
    "mlore-nyud-large": Case("mlore", "vit-l16", Problem(NYUD, (448, 576)), mlore),
    "sak-nyud-micro": Case("sak", "vit-micro", Problem(NYUD, (112, 144)), sak),
    "sak-nyud-tiny": Case("sak", "vit-t16", Problem(NYUD, (448, 576)), sak),
    "sak-nyud-base": Case("sak", "vit-b16", Problem(NYUD, (448, 576)), sak),
}
QUICK = (
    "taskprompter-nyud-micro",
    "taskprompter-pascal-tiny",
    "mlore-nyud-micro",
    "mlore-nyud-tiny",
    "sak-nyud-micro",
    "sak-nyud-tiny",
)


if __name__ == "__main__":
    main(__doc__, CASES, QUICK)
