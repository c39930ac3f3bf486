"""Token execution: active tokens of all sub-tasks, chosen once per stage of blocks, walk beside the base's blocks.

Nothing as large as a map is copied or compared on the way: the state of a sub-task is its active tokens. Every other
token is the base's, whose keys and values the active ones attend to where the base left them.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.methods.share.block import split_heads
from harness.methods.share.execution.stack import StackedBlock, StackedWeights, StackedWindows
from harness.methods.share.options import Keys
from harness.methods.share.windows import Partition


def nested_counts(fractions: Sequence[float], tokens: int) -> list[int]:
    """Return the number of active tokens of consecutive blocks: fractions rounded up, and never more than before."""
    counts, most = [], tokens
    for fraction in fractions:
        # 0.3 * 10 is 3.0000000000000004 in floating point and must not become 4.
        most = min(most, math.ceil(fraction * tokens - 1e-9))
        counts.append(most)
    return counts


class TokenWalk:
    """The active tokens of T sub-tasks on their way through the blocks, together with the base.

    At every block at which the fraction of tokens falls a stage begins, and the tokens that go on are chosen among
    those that are active. Tokens that stop keep their distance from the base's. All shapes follow from the options, so
    that nothing waits for the device.

    Args:
        weights: Weights of the sub-tasks at one resolution.
        counts: Active tokens per image, by block from the first that sub-tasks compute.
        keys: Keys and values that active tokens attend to. Where every token is active, they are the sub-task's own.
    """

    def __init__(self, weights: StackedWeights, counts: Sequence[int], keys: Keys) -> None:
        self.weights, self.keys = weights, keys
        self.counts = dict(zip(weights.blocks, counts, strict=True))
        self.subs = len(weights.scale)
        # State: active tokens [T, B k, D], and their places [T, B k] in the base's flattened map [B N, D]; None for all
        self._z: Tensor | None = None
        self._places: Tensor | None = None
        # Tokens that stopped: places [T, B j] and distances from the base's [T, B j, D]
        self._stopped: list[tuple[Tensor, Tensor]] = []
        self._moved: Tensor | None = None
        # Windows in which active tokens lie, where blocks have windows: how they were cut, and how many
        self._chosen: tuple[Partition, int] | None = None

    def advance(self, index: int, x: Tensor, qkv: Tensor, context: Tensor, own: Tensor | None = None) -> None:
        """Take the active tokens through a block.

        Args:
            index: Number of the block.
            x: The base's tokens before it, [B, N, D].
            qkv: The base's queries, keys and values in it, [B, N, 3 D]. With own keys they are overwritten for a
                while, and restored.
            context: The base's attended values in it, [B, N, D].
            own: The sub-tasks' own tokens before the first of their blocks, [T, B, N, D]; None where they are the
                base's.
        """
        images, tokens, _ = x.shape
        count = self.counts[index]
        if self._z is None:
            self._z, self._places = self._enter(count, x, own, self.weights.blocks[index].windows)
        elif count < self._z.shape[1] // images:
            self._z, self._places = self._narrow(count, x, self._z, self.weights.blocks[index].windows)
        if count:
            self._z = self._through(self.weights.blocks[index], self._z, qkv, context, count == tokens)

    def features(self, x: Tensor) -> Tensor:
        """Return the normed tokens of the sub-tasks, [T, B, N, D].

        Args:
            x: The base's last tokens, [B, N, D].
        """
        images, tokens, width = x.shape
        scale, shift = self.weights.scale, self.weights.shift  # [T, 1, D]
        if self._z is not None and self._places is None:
            return torch.addcmul(shift, self._norm(self._z), scale).view(-1, images, tokens, width)
        # 1. Inactive tokens are the base's, normed once for all sub-tasks: [T, B N, D].
        out = torch.addcmul(shift, self._norm(self._inactive(x)), scale)
        if self._z is None or self._places is None:
            return out.view(-1, images, tokens, width)
        # 2. Active tokens, and those that stopped on the way, over them.
        places, values = self._finished(x, self._z, self._places)
        return self._over(out, places, torch.addcmul(shift, self._norm(values), scale), x)

    def whole(self, x: Tensor) -> Tensor:
        """Return the tokens of the sub-tasks without a norm, [T, B, N, D]; arguments are those of `features`."""
        if self._z is not None and self._places is None:
            return self._z.view(-1, *x.shape)
        out = self._inactive(x).expand(self.subs, -1, -1)
        if self._z is None or self._places is None:
            return out.reshape(-1, *x.shape)
        return self._over(out.clone(), *self._finished(x, self._z, self._places), x)

    def _inactive(self, x: Tensor) -> Tensor:
        """Return the base's last tokens, moved as the sub-tasks' were before the first block, [1 or T, B N, D]."""
        flat = x.view(1, -1, x.shape[-1])
        return flat if self._moved is None else flat + self._moved

    def _finished(self, x: Tensor, z: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Return places and values of active tokens and of those that stopped on the way."""
        finished = [(places, z)]
        finished += [(places, taken(x, places) + distance) for places, distance in self._stopped]
        held, values = (torch.cat(part, 1) for part in zip(*finished, strict=True))
        return held, values

    def _over(self, out: Tensor, places: Tensor, values: Tensor, x: Tensor) -> Tensor:
        """Overwrite tokens of ``out`` [T, B N, D] and return it as [T, B, N, D]."""
        first = out.shape[1] * torch.arange(self.subs, device=x.device)[:, None]
        out = out.flatten(0, 1).index_copy_(0, (places + first).flatten(), values.flatten(0, 1))
        return out.view(-1, *x.shape)

    def _norm(self, x: Tensor) -> Tensor:
        """Normalise tokens without an affine part."""
        return F.layer_norm(x, x.shape[-1:], eps=self.weights.eps)

    def _enter(
        self, count: int, x: Tensor, own: Tensor | None, windows: StackedWindows | None
    ) -> tuple[Tensor, Tensor | None]:
        """Choose the tokens in which the weights of the blocks differ most in effect from the base's."""
        images, tokens, width = x.shape
        if own is not None:
            self._moved = (own - x).view(self.subs, -1, width)
        if count == tokens:
            return (x.expand(self.subs, *x.shape) if own is None else own).reshape(self.subs, -1, width), None
        with torch.no_grad():
            normed = self._norm(x.view(1, -1, width)).expand(self.subs, -1, -1)  # [T, B N, D]
            if own is None:
                change = self.weights.sketch.of(normed)  # [T, B N, r]
            else:
                # S_s n_s - S_b n_b = (S_s - S_b) n_s + S_b (n_s - n_b)
                theirs = self._norm(own.view(self.subs, -1, width))
                base = self.weights.sketch_base.weight.expand(self.subs, -1, -1)
                change = torch.baddbmm(self.weights.sketch.of(theirs), theirs - normed, base)
            size = change.square().sum(-1).view(-1, images, tokens)
            if self.weights.resolution.class_token:
                size[..., 0] = -1  # nothing reads it, so it is the last to be chosen
            if windows is not None:
                self._chosen = windows.partition, windows.partition.room(count)
                size = windows.partition.within(size.flatten(0, 1), count).view_as(size)
            chosen = size.topk(count, sorted=False).indices  # [T, B, k]
            places = (chosen + tokens * torch.arange(images, device=x.device)[:, None]).flatten(1)
        if own is None:
            return taken(x, places), places
        return own.view(self.subs, -1, width).gather(1, places[..., None].expand(-1, -1, width)), places

    def _narrow(self, count: int, x: Tensor, z: Tensor, windows: StackedWindows | None) -> tuple[Tensor, Tensor]:
        """Go on with the ``count`` tokens of each image that are farthest from the base's."""
        if windows is not None and self._chosen is None:  # all tokens were active
            self._chosen = windows.partition, windows.partition.room(count)
        images, tokens, width = x.shape
        everywhere = torch.arange(images * tokens, device=x.device).expand(self.subs, -1)
        places = everywhere if self._places is None else self._places
        distance = z - taken(x, places)  # [T, B k, D]
        with torch.no_grad():
            size = distance.square().sum(-1).view(self.subs, images, -1)
            if self._places is None and self.weights.resolution.class_token:
                size[..., 0] = -1
            order = size.argsort(descending=True, dim=-1)  # [T, B, k]
            order = order + order.shape[-1] * torch.arange(images, device=x.device)[:, None]
            on, off = order[..., :count].flatten(1), order[..., count:].flatten(1)  # [T, B k'], the others
        spread = off[..., None].expand(-1, -1, width)
        self._stopped.append((places.gather(1, off), distance.gather(1, spread)))
        return z.gather(1, on[..., None].expand(-1, -1, width)), places.gather(1, on)

    def _through(self, block: StackedBlock, z: Tensor, qkv: Tensor, context: Tensor, everything: bool) -> Tensor:
        """Return the active tokens [T, B k, D] after a block."""
        width = z.shape[-1]
        own = self.keys == "own" or everything
        asked = (block.qkv if own else block.qkv.narrow(width)).of(self._norm(z))  # [T, B k, 3 D or D]
        if block.windows is not None:
            found = self._attend_windows(asked, qkv, context, block.windows, block.heads)
        elif everything:
            found = self._attend_own(asked, qkv.shape[0], block.heads)
        elif own:
            found = self._attend_mixed(asked, qkv, block.heads)
        else:
            found = self._attend_base(asked, qkv, block.heads)
        z = block.proj.onto(z, found)
        return block.fc2.onto(z, F.gelu(block.fc1.of(self._norm(z))))

    def _attend_windows(
        self, asked: Tensor, qkv: Tensor, context: Tensor, windows: StackedWindows, heads: int
    ) -> Tensor:
        """Let active tokens [T, B k, 3 D or D] ask the keys and values of their windows.

        Tokens are chosen in few windows. Where these are shifted, tokens may lie in twice as many; where they lie in
        more, those in the emptiest keep the base's attended values.
        """
        images, partition = qkv.shape[0], windows.partition
        bias = windows.bias.repeat_interleave(images, 0)  # [T B, h, c, c]
        own = asked.view(self.subs * images, -1, asked.shape[-1])
        if self._places is None:
            pad = windows.pad.repeat_interleave(images, 0)[:, None, None]
            return partition.of_all(own, pad, bias, heads).view(self.subs, -1, context.shape[-1])
        assert self._chosen is not None
        chosen, room = self._chosen
        room = room if chosen is partition else 2 * room
        places = self._places.view(len(own), -1) % context.shape[1]
        found = partition.beside(own, places, qkv, context, windows.base_pad, bias, heads, room)
        return found.view(self.subs, -1, context.shape[-1])

    def _attend_base(self, queries: Tensor, qkv: Tensor, heads: int) -> Tensor:
        """Let the queries [T, B k, D] of all sub-tasks ask the base's keys and values, which are not copied."""
        images, width = qkv.shape[0], queries.shape[-1]
        _, keys, values = (split_heads(part, heads) for part in qkv.chunk(3, dim=-1))  # [B, h, N, d]
        # For one image a view: [B, h, T k, d]
        asked = queries.view(self.subs, images, -1, heads, width // heads).permute(1, 3, 0, 2, 4)
        context = F.scaled_dot_product_attention(asked.flatten(2, 3), keys, values)
        context = context.transpose(1, 2).reshape(images, self.subs, -1, width)
        return context.transpose(0, 1).reshape(self.subs, -1, width)

    def _attend_mixed(self, own: Tensor, qkv: Tensor, heads: int) -> Tensor:
        """Let active tokens [T, B k, 3 D] ask the base's keys and values with their own in the place of the base's."""
        assert self._places is not None
        images, tokens, wide = qkv.shape
        flat = qkv.flatten(0, 1)  # [B N, 3 D]
        contexts = []
        for some, places in zip(own, self._places, strict=True):
            if torch.is_grad_enabled():
                mixed, kept = flat.index_copy(0, places, some), None
            else:  # k tokens are swapped in and out instead of a copy of the map
                mixed, kept = flat, flat.index_select(0, places)
                flat.index_copy_(0, places, some)
            queries = some.view(images, -1, wide).chunk(3, dim=-1)[0]
            _, keys, values = mixed.view(images, tokens, wide).chunk(3, dim=-1)
            q, k, v = (split_heads(part, heads) for part in (queries, keys, values))
            contexts.append(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(-1, wide // 3))
            if kept is not None:
                flat.index_copy_(0, places, kept)
        return torch.stack(contexts)

    def _attend_own(self, own: Tensor, images: int, heads: int) -> Tensor:
        """Let all tokens [T, B N, 3 D] ask each other."""
        parts = own.view(self.subs * images, -1, own.shape[-1]).chunk(3, dim=-1)
        q, k, v = (split_heads(part, heads) for part in parts)  # [T B, h, N, d]
        context = F.scaled_dot_product_attention(q, k, v)
        return context.transpose(1, 2).reshape(self.subs, -1, own.shape[-1] // 3)


def taken(x: Tensor, places: Tensor) -> Tensor:
    """Return tokens of the base, [T, M, D], at places [T, M] of the flattened map ``x`` [B, N, D]."""
    return x.flatten(0, 1).index_select(0, places.flatten()).view(*places.shape, x.shape[-1])
