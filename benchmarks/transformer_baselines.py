"""Time of the baselines per image, beside the same networks run straightforwardly.

The straightforward side shares the weights: task after task, maps with channels first, as the papers describe it. Both
must give the same predictions, and take turns, so that what disturbs the machine disturbs both.

    python benchmarks/transformer_baselines.py [--threads 1] [--device cpu] [--batch 1] [--record FILE] [NAME...]
"""

import torch
from beside_plain import NYUD, PASCAL, Case, main, resized
from torch import Tensor
from torch.nn import functional as F

from harness.backbones.swin_layers import SwinBlock, SwinStage
from harness.backbones.vit import as_map, embedded
from harness.backbones.windows import Windows
from harness.baselines.common.tasks import key_of
from harness.baselines.invpt.attention import HEADS, MessagePassingAttention
from harness.baselines.invpt.model import InvPTModel
from harness.baselines.mtformer.model import MTFormerNet
from harness.baselines.mtformer.stacks import CrossTaskBlock, CrossTaskStack, SwinStack
from harness.baselines.mtlora.adapted import AdaptedLinear
from harness.baselines.mtlora.model import MTLoRANet
from harness.baselines.tsp.model import PromptedInvPT
from harness.problem import Problem

Maps = list[Tensor]


def invpt_attention(
    attention: MessagePassingAttention, maps: Maps, message: Maps | None, window: int
) -> tuple[Maps, Maps]:
    """Attend as `MessagePassingAttention` does; maps are [B, C, h, w] by task, messages have keys for channels."""
    size = maps[0].shape[-2:]
    queries = [halve(map_) for halve, map_ in zip(attention.conv_proj_q, maps, strict=True)]
    keys, values = ([F.avg_pool2d(map_, window, ceil_mode=True) for map_ in maps] for _ in range(2))
    count, (h, w) = queries[0][0, 0].numel(), queries[0].shape[-2:]

    def heads(layer: torch.nn.Module, maps: Maps) -> Tensor:
        tokens = layer(torch.cat([map_.flatten(2).transpose(1, 2) for map_ in maps], dim=1))
        return tokens.unflatten(2, (HEADS, -1)).transpose(1, 2)

    q, k, v = (
        heads(layer, maps)
        for layer, maps in ((attention.proj_q, queries), (attention.proj_k, keys), (attention.proj_v, values))
    )
    score = torch.einsum("bhqc,bhkc->bhqk", q, k) * attention.scale
    if message is not None:
        previous = [resized(map_, (h, w)).flatten(2).transpose(1, 2) for map_ in message]
        fused = attention.fuse_attn(
            torch.cat([score, torch.cat(previous, 1).unflatten(0, (-1, HEADS)).contiguous()], 1)
        )
        score = fused
    mixed = torch.einsum("bhqk,bhkc->bhqc", score.softmax(-1), v).transpose(1, 2).flatten(2)
    tokens = attention.proj(mixed).split(count, dim=1)
    outputs = [resized(part.transpose(1, 2).unflatten(2, (h, w)), size) for part in tokens]
    messages = [part.flatten(0, 1).transpose(1, 2).unflatten(2, (h, w)) for part in score.split(count, dim=2)]
    return outputs, messages


def invpt(model: InvPTModel, images: Tensor) -> dict[str, Tensor]:
    """Predict all tasks as the paper of InvPT describes it."""
    decoder = model.multi_task_decoder
    fine, middle, last = model.features(images)
    skips = (decoder.scale_embed[1](middle), decoder.scale_embed[0](fine))
    return inverted_pyramid(model, skips, [last] * len(decoder.invpt.keys))


def tsp(model: PromptedInvPT, images: Tensor) -> dict[str, Tensor]:
    """Predict all tasks as the paper of TSP describes it: the whole encoder for every task."""
    vit, decoder = model.backbone, model.multi_task_decoder
    middles, fines, lasts = [], [], []
    for key in model.keys:
        tokens = embedded(vit, images)
        count = tokens.shape[1]
        for number, block in enumerate(vit.blocks):
            if number in model.prompts.blocks:
                own = vit.get_parameter(key)[number - model.prompts.blocks.start].expand(len(images), -1, -1)
                tokens = torch.cat([tokens, own], dim=1)
            tokens = block(tokens)[:, :count]
            if number + 1 == model.taps[0]:
                fines.append(decoder.scale_embed[0](as_map(vit, tokens)))
            if number + 1 == model.taps[1]:
                middles.append(decoder.scale_embed[1](as_map(vit, tokens)))
        lasts.append(resized(as_map(vit, vit.norm(tokens)), model.size))
    return inverted_pyramid(model, (torch.stack(middles).mean(0), torch.stack(fines).mean(0)), lasts)


def inverted_pyramid(model: InvPTModel, embedded_skips: tuple[Tensor, Tensor], lasts: Maps) -> dict[str, Tensor]:
    """Decode, given the features of the skip connections and the encoder's last map of every task."""
    decoder, pyramid = model.multi_task_decoder, model.multi_task_decoder.invpt
    skips = (None, *embedded_skips)
    features = [decoder.preliminary_decoder[key](last) for key, last in zip(pyramid.keys, lasts, strict=True)]
    early = [decoder.intermediate_head[key](map_) for key, map_ in zip(pyramid.keys, features, strict=True)]
    maps = [
        pyramid.mix_proj[key](torch.cat(pair, dim=1))
        for key, pair in zip(pyramid.keys, zip(features, early, strict=True), strict=True)
    ]
    message, totals = None, [torch.zeros(()) for _ in maps]
    for level, (stage, norm, skip) in enumerate(zip(pyramid.stages, pyramid.norm_mts, skips, strict=True)):
        if skip is not None:
            maps = [embed(map_) + skip for embed, map_ in zip(stage.patch_embed, maps, strict=True)]
        block, (h, w) = stage.blocks[0], maps[0].shape[-2:]
        x = torch.cat([map_.flatten(2).transpose(1, 2) for map_ in maps], dim=1)
        normed = [part.transpose(1, 2).unflatten(2, (h, w)) for part in block.norm1(x).split(h * w, dim=1)]
        attended, message = invpt_attention(block.attn, normed, message, block.attn.window)
        x = x + torch.cat([map_.flatten(2).transpose(1, 2) for map_ in attended], dim=1)
        x = x + block.mlp(block.norm2(x))
        parts = x.split(h * w, dim=1)
        maps = [part.transpose(1, 2).unflatten(2, (h, w)) for part in parts]
        for task, part in enumerate(norm(torch.cat(parts, dim=2)).chunk(len(maps), dim=2)):
            map_ = part.transpose(1, 2).unflatten(2, (h, w))
            totals[task] = totals[task] + resized(pyramid.redu_chan[level][task](map_) if level else map_, pyramid.size)
    predictions = {}
    for name in model.problem.names:
        map_ = pyramid.mt_proj[key_of(name)](totals[pyramid.keys.index(key_of(name))])
        predictions[name] = resized(model.heads[key_of(name)](map_), model.problem.input_size)
    return predictions


def window_products(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor, mask: Tensor | None, scale: float
) -> Tensor:
    """Attend in windows by products; all are [B n, heads, N, c], the bias [heads, N, N], the mask [n, 1, N, N]."""
    score = scale * query @ key.transpose(-2, -1) + bias
    if mask is not None:
        score = (score.unflatten(0, (-1, len(mask))) + mask).flatten(0, 1)
    return (score.softmax(-1) @ value).transpose(1, 2).flatten(2)


def offset_bias(attention: torch.nn.Module) -> Tensor:
    """Return the learned bias of a window, [heads, N, N]."""
    return attention.relative_position_bias_table[attention.relative_position_index].permute(2, 0, 1)


def swin_stage(stage: SwinStage, map_: Tensor) -> Tensor:
    """Run the blocks of a stage on [B, H, W, C]."""
    for block in stage.blocks:
        assert isinstance(block, SwinBlock)
        windows = Windows(*map_.shape[1:3], block.side, block.shift)
        cut = block.attn.qkv(windows.cut(block.norm1(map_))).unflatten(-1, (3, block.attn.heads, -1))
        query, key, value = cut.permute(2, 0, 3, 1, 4)
        bias, mask = offset_bias(block.attn), windows.mask(map_.device)
        mixed = window_products(query, key, value, bias, mask, query.shape[-1] ** -0.5)
        map_ = map_ + windows.join(block.attn.proj(mixed))
        map_ = map_ + block.mlp(block.norm2(map_))
    return map_


def cross_task_block(block: CrossTaskBlock, own: Tensor, others: Maps) -> Tensor:
    """Run a block across tasks, attending in one pattern after the other."""
    attention = block.attn1
    windows = Windows(*own.shape[1:3], 7, block.shift)
    bias, mask = offset_bias(attention), windows.mask(own.device)
    cuts = [windows.cut(block.norm1(map_)) for map_ in (own, *others)]
    attended = []
    for cut in cuts:
        query, key = attention.qkv(cut).unflatten(-1, (2, attention.heads, -1)).permute(2, 0, 3, 1, 4)
        value = attention.qkv2(cuts[0]).unflatten(-1, (attention.heads, -1)).transpose(1, 2)
        attended.append(attention.proj(window_products(query, key, value, bias, mask, attention.scale)))
    fused = [getattr(block, name)(each) for name, each in zip(block.by_pattern, attended, strict=True)]
    own = own + windows.join(attended[0] + block.mlp3(torch.cat(fused, dim=-1)))
    return own + block.mlp2(block.norm2(own))


def mtlora(model: MTLoRANet, images: Tensor) -> dict[str, Tensor]:
    """Predict all tasks as the paper of MTLoRA describes it: factors apart from the weights, task after task."""

    def shared(layer: AdaptedLinear, x: Tensor) -> Tensor:
        return layer.linear(x) + layer.common(x)

    map_ = model.backbone.patch_embed(images)
    levels = []
    for stage in model.backbone.layers:
        for block in stage.blocks:
            windows, attention = block.windows, block.attn
            cut = shared(attention.qkv, windows.cut(block.norm1(map_))).unflatten(-1, (3, attention.heads, -1))
            query, key, value = cut.permute(2, 0, 3, 1, 4)
            mask = None if block.attn_mask is None else block.attn_mask[:, None]
            mixed = window_products(query, key, value, offset_bias(attention), mask, query.shape[-1] ** -0.5)
            own = {}
            if block is stage.blocks[-1]:
                frozen = attention.proj.linear(mixed)
                for name in model.problem.names:
                    own[name] = map_ + windows.join(frozen + attention.proj.of_task(key_of(name), mixed))
            map_ = map_ + windows.join(shared(attention.proj, mixed))
            normed = block.norm2(map_)
            hidden = F.gelu(shared(block.mlp.fc1, normed))
            for name, each in own.items():
                first, second = block.mlp.fc1, block.mlp.fc2
                wide = F.gelu(first.linear(normed) + first.of_task(key_of(name), block.norm2(each)))
                own[name] = each + second.linear(hidden) + second.of_task(key_of(name), wide)
            map_ = map_ + shared(block.mlp.fc2, hidden)
        levels.append({name: stage.downsample(each).permute(0, 3, 1, 2) for name, each in own.items()})
        map_ = stage.downsample(map_)
    return {
        name: model.decoders.decoders[key_of(name)](model.downsampler[key_of(name)]([level[name] for level in levels]))
        for name in model.problem.names
    }


def mtformer(model: MTFormerNet, images: Tensor) -> dict[str, Tensor]:
    """Predict all tasks as the paper of MTFormer describes it, encoder included."""

    def swin_stack(stack: SwinStack, map_: Tensor) -> Tensor:
        return stack.norm0(swin_stage(stack.layers[0], map_))

    def cross_stack(stack: CrossTaskStack, own: Tensor, others: Maps) -> Tensor:
        for block in stack.layers[0].blocks:
            own = cross_task_block(block, own, others)
        return stack.norm0(own)

    encoder = model.backbone
    map_, levels = encoder.patch_embed(images), []
    for level, stage in enumerate(encoder.layers):
        map_ = swin_stage(stage, map_)
        levels.append(getattr(encoder, f"norm{level}")(map_).permute(0, 3, 1, 2))
        map_ = stage.downsample(map_) if level < 3 else map_
    features = torch.cat([levels[1], *(resized(level, levels[1].shape[-2:]) for level in levels[2:])], dim=1)
    shared = swin_stack(model.transformer1, model.decoder(features).permute(0, 2, 3, 1))
    private = [swin_stack(getattr(model, name), shared) for name in model.layout.private]
    predictions = {}
    for index, task in enumerate(model.order):
        others = private[:index] + private[index + 1 :]
        fused = cross_stack(getattr(model, model.layout.cross[index]), private[index], others)
        head = getattr(model, f"project{index + 1}")
        predictions[task] = resized(head(fused.permute(0, 3, 1, 2)), model.problem.input_size)
    return predictions


CASES = {
    "invpt-nyud-micro": Case("invpt", "vit-micro", Problem(NYUD, (112, 144)), invpt),
    "invpt-pascal-tiny": Case("invpt", "vit-t16", Problem(PASCAL, (256, 256)), invpt),
    "invpt-nyud-tiny": Case("invpt", "vit-t16", Problem(NYUD, (448, 576)), invpt),
    "invpt-nyud-base": Case("invpt", "vit-b16", Problem(NYUD, (448, 576)), invpt),
    "tsp-nyud-micro": Case("tsp", "vit-micro", Problem(NYUD, (112, 144)), tsp),
    "tsp-pascal-tiny": Case("tsp", "vit-t16", Problem(PASCAL, (256, 256)), tsp),
    "tsp-nyud-tiny": Case("tsp", "vit-t16", Problem(NYUD, (448, 576)), tsp),
    "mtlora-pascal-micro": Case("mtlora", "swin-micro", Problem(PASCAL[:4], (112, 112)), mtlora),
    "mtlora-pascal-tiny": Case("mtlora", "swin-t", Problem(PASCAL[:4], (448, 448)), mtlora),
    "mtformer-nyud-micro": Case("mtformer", "swin-micro", Problem(NYUD, (112, 144)), mtformer),
    "mtformer-pascal-tiny": Case("mtformer", "swin-t", Problem(PASCAL[:3], (256, 256)), mtformer),
    "mtformer-nyud-small": Case("mtformer", "swin-s", Problem(NYUD[:2], (480, 640)), mtformer),
}
QUICK = (
    *("invpt-nyud-micro", "invpt-pascal-tiny", "tsp-nyud-micro", "tsp-pascal-tiny"),
    *("mtlora-pascal-micro", "mtformer-nyud-micro", "mtformer-pascal-tiny"),
)


if __name__ == "__main__":
    main(__doc__, CASES, QUICK)
