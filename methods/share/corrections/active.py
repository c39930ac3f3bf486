"""Active tokens of sub-tasks: chosen once, then sent through the sub-tasks' own last blocks.

Queries of active tokens attend to the base's keys and values, which are not copied. All sub-tasks with equally many
active tokens share one product per layer and one attention per block.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.methods.share.block import EPS, attention, split_heads
from harness.methods.share.corrections.settings import Setting
from harness.methods.share.corrections.stacks import Blocks, Stack
from harness.methods.share.corrections.trace import Trace


def active_change(trace: Trace, stack: Stack, setting: Setting, heads: int) -> tuple[Tensor, Tensor]:
    """Return the places [T, B k] of active tokens in the flattened patches [B P], and their change [T, B k, D].

    Args:
        trace: The base's run, with keys and values of the own blocks.
        stack: The sub-tasks' weights, with scorers.
        setting: Says how many tokens are active, and from which block on.
        heads: Attention heads.
    """
    first = setting.first_block
    assert first is not None
    assert stack.scorers is not None
    start = trace.patches(first)  # [B, P, D]
    b, p, width = start.shape
    count = setting.tokens(p)
    # 1. The k tokens of each image and sub-task with the highest scores: their number is static, their places are data.
    scores = F.linear(F.layer_norm(start, (width,), eps=EPS), *stack.scorers)  # [B, P, T]
    top = scores.permute(2, 0, 1).topk(count, sorted=False)  # [T, B, k]
    image = p * torch.arange(b, device=start.device)[:, None]  # place of each image's first token, [B, 1]
    places = (top.indices + image).flatten(1)  # [T, B k]
    # 2. These tokens through the own blocks.
    z = start.reshape(b * p, width)[places]  # [T, B k, D]
    for index, block in stack.blocks.items():
        z = _with_keys_of(z, block, trace.qkv[index], heads)
    # 3. Their difference from the base's result; 2 sigmoid(score) is near 1 at the start and trains the scorer.
    gain = 2 * torch.sigmoid(top.values).view(z.shape[0], b * count, 1)  # [T, B k, 1]
    return places, gain * (z - trace.last.reshape(b * p, width)[places])


def whole_change(trace: Trace, stack: Stack, setting: Setting, heads: int) -> Tensor:
    """Return the change [T, B P, D] of all patch tokens, which went through the own blocks with keys of their own."""
    first = setting.first_block
    assert first is not None
    x = trace.tokens[first]  # [B, 1 + P, D]
    b, n, width = x.shape
    tasks = len(next(iter(stack.blocks.values())).qkv.weight)
    z = x.reshape(1, b * n, width).expand(tasks, -1, -1)
    for block in stack.blocks.values():
        qkv = block.qkv(block.norm1(z)).view(tasks * b, n, -1)  # [T B, 1 + P, 3 D]
        context = attention(qkv.chunk(3, dim=-1)[0], qkv, heads).view(tasks, b * n, width)
        z = _mixed(z + block.proj(context), block)
    return (z.view(tasks, b, n, width)[:, :, 1:] - trace.last).flatten(1, 2)


def _with_keys_of(z: Tensor, block: Blocks, qkv: Tensor, heads: int) -> Tensor:
    """Run active tokens [T, B k, D] through a block, with the base's keys and values of ``qkv`` [B, 1 + P, 3 D]."""
    tasks, rows, width = z.shape
    b = qkv.shape[0]
    # The queries of all sub-tasks side by side, [B, T k, D]: one call, and no copy of keys and values per sub-task
    queries = block.qkv(block.norm1(z)).view(tasks, b, -1, width).transpose(0, 1).reshape(b, -1, width)
    _, keys, values = qkv.chunk(3, dim=-1)
    q, k, v = (split_heads(part, heads) for part in (queries, keys, values))
    context = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, tasks, -1, width)  # [B, T, k, D]
    return _mixed(z + block.proj(context.transpose(0, 1).reshape(tasks, rows, width)), block)


def _mixed(z: Tensor, block: Blocks) -> Tensor:
    return z + block.fc2(F.gelu(block.fc1(block.norm2(z))))
