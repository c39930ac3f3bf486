"""Attention in windows for tokens that lie in a row, and the choice of windows that are computed at all.

Tokens are [B, N, D], row by row of the map. Cells of a window beyond the map hold padding: a zero after the norm, whose
queries, keys and values are the bias of their layer. They are not multiplied for it.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.backbones.windows import Windows, offsets

SPREAD = 2
"""Windows that are computed for a fraction f of active tokens: SPREAD times f of them, so that active tokens may lie
loosely, and so that the number of windows follows from that of tokens."""


class Partition(nn.Module):
    """One way to cut a map of N tokens into n windows of c cells; tables alone, which move with the model.

    Args:
        windows: Sizes and shift.

    Attributes:
        count: Windows n of a map.
        cells: Cells c of a window.
        tokens: Tokens N of a map.
        fills: Tokens by window, from the emptiest to the fullest.
        padded: Whether some window has cells of padding.
    """

    places: Tensor
    outside: Tensor
    window: Tensor
    cell: Tensor
    offsets: Tensor
    apart: Tensor | None

    def __init__(self, windows: Windows) -> None:
        super().__init__()
        self.tokens = windows.height * windows.width
        # Numbers of tokens from 1, cut as a map is: 0 is padding.
        numbers = torch.arange(1, self.tokens + 1, dtype=torch.float64).view(1, windows.height, windows.width, 1)
        cut = windows.cut(numbers)[..., 0].long()  # [n, c]
        self.count, self.cells = cut.shape
        slots = torch.empty(self.tokens + 1, dtype=torch.long)
        slots[cut.flatten()] = torch.arange(cut.numel())
        self.fills = sorted((cut > 0).sum(1).tolist())
        self.padded = self.fills[0] < self.cells
        # Place of the token in every cell; 0 in padding, which is told apart by `outside`
        self.register_buffer("places", (cut - 1).clamp(min=0), persistent=False)
        self.register_buffer("outside", cut == 0, persistent=False)
        self.register_buffer("window", slots[1:] // self.cells, persistent=False)  # [N]
        self.register_buffer("cell", slots[1:] % self.cells, persistent=False)  # [N]
        self.register_buffer("offsets", offsets(windows.side).flatten(), persistent=False)
        self.register_buffer("apart", windows.mask(torch.device("cpu")), persistent=False)  # [n, 1, c, c]

    def bias(self, table: Tensor) -> Tensor:
        """Return the bias [h, c, c] of attention from its table by offset [(2 side - 1)^2, h]."""
        return table[self.offsets].view(self.cells, self.cells, -1).permute(2, 0, 1)

    # Windows that are computed

    def room(self, count: int) -> int:
        """Return the windows per image that are computed for ``count`` active tokens; any so many can hold them."""
        held, least = 0, 0
        for tokens in self.fills:
            if held >= count:
                break
            held, least = held + tokens, least + 1
        return min(self.count, max(least, math.ceil(SPREAD * count * self.count / self.tokens - 1e-9)))

    def within(self, score: Tensor, count: int) -> Tensor:
        """Return scores [R, N] with -1 outside of the windows that are computed, those with the largest sums.

        Args:
            score: Not negative, [R, N].
            count: Tokens per map that will be chosen by it.
        """
        room = self.room(count)
        if room == self.count:
            return score
        sums = score[:, self.places].masked_fill(self.outside, 0).sum(-1)  # [R, n]
        chosen = sums.topk(room, sorted=False).indices
        skipped = torch.ones_like(sums, dtype=torch.bool).scatter(1, chosen, False)
        return score.masked_fill(skipped.index_select(1, self.window), -1)

    def busiest(self, places: Tensor, room: int) -> Tensor:
        """Return the windows [R, room] with most of the tokens at ``places`` [R, k]."""
        ones = torch.ones_like(places, dtype=torch.float32)
        counts = ones.new_zeros(len(places), self.count).scatter_add(1, self.window[places], ones)
        return counts.topk(room, sorted=False).indices

    def rows(self, places: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Return where tokens lie in the windows that are computed, and which of them lie in one.

        Args:
            places: Tokens, [R, k].
            chosen: Windows, [R, W].

        Returns:
            Rows [R, k] of [R, W c], 0 for tokens in other windows, and a mask [R, k].
        """
        order = torch.arange(chosen.shape[1], device=chosen.device).expand_as(chosen)
        rank = torch.full((len(chosen), self.count), -1, device=chosen.device).scatter(1, chosen, order)
        at = rank.gather(1, self.window[places])
        covered = at >= 0
        return (at * self.cells + self.cell[places]).where(covered, 0), covered

    # Attention

    def taken(self, x: Tensor, pad: Tensor, chosen: Tensor | None) -> Tensor:
        """Return the cells of windows, [R, W, c, C].

        Args:
            x: Tokens of the maps, [B, N, C]; R is a multiple of B, and maps follow each other in turn.
            pad: What cells of padding hold, [C], or by map [R, 1, 1, C].
            chosen: Windows, [R, W]; None for all, with R = B.
        """
        if chosen is None:
            cells = x.index_select(1, self.places.flatten()).view(len(x), self.count, self.cells, -1)
            return torch.where(self.outside[..., None], pad, cells) if self.padded else cells
        first = self.tokens * (torch.arange(len(chosen), device=x.device) % len(x))[:, None, None]
        places = self.places[chosen] + first  # [R, W, c]
        cells = x.flatten(0, 1).index_select(0, places.flatten()).view(*places.shape, -1)
        return torch.where(self.outside[chosen][..., None], pad, cells) if self.padded else cells

    def mixed(self, cells: Tensor, bias: Tensor, heads: int, chosen: Tensor | None) -> Tensor:
        """Return the attended values [R, W c, D] of every cell: softmax(q k^T / sqrt(d) + bias + mask) v.

        Args:
            cells: Queries, keys and values, [R, W, c, 3 D].
            bias: [h, c, c], or by map [R, h, c, c].
            heads: Attention heads h.
            chosen: The windows, [R, W]; None for all.
        """
        maps, windows, count, wide = cells.shape
        split = cells.view(maps * windows, count, 3, heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = split.unbind(0)  # [R W, h, c, d]
        added = bias.view(-1, 1, heads, count, count)  # [1 or R, 1, h, c, c]
        if self.apart is not None:
            added = added + (self.apart[None] if chosen is None else self.apart[chosen])
        if added.shape[:2] != (1, 1):
            added = added.expand(maps, windows, -1, -1, -1)
        context = F.scaled_dot_product_attention(q, k, v, attn_mask=added.flatten(0, 1))
        return context.transpose(1, 2).reshape(maps, windows * count, wide // 3)

    def of_all(self, qkv: Tensor, pad: Tensor, bias: Tensor, heads: int) -> Tensor:
        """Return the attended values [R, N, D] of all tokens from their queries, keys and values [R, N, 3 D]."""
        context = self.mixed(self.taken(qkv, pad, None), bias, heads, None)
        return context.index_select(1, self.window * self.cells + self.cell)

    def touched(self, places: Tensor) -> int:
        """Return the windows in which tokens [1, k] of one map lie; this waits for the device."""
        return len(set(self.window[places].flatten().tolist()))

    def of_some(self, qkv: Tensor, places: Tensor, pad: Tensor, bias: Tensor, heads: int, room: int) -> Tensor:
        """Return the attended values [B, k, D] of tokens that all lie in few windows; the others are skipped.

        Args:
            qkv: Queries, keys and values of all tokens, [B, N, 3 D].
            places: Tokens that ask, [B, k].
            pad: Queries, keys and values of padding, [3 D].
            bias: [h, c, c].
            heads: Attention heads h.
            room: Windows per map in which they lie.
        """
        if not places.shape[1]:
            return qkv.new_empty(len(qkv), 0, qkv.shape[-1] // 3)
        chosen = self.busiest(places, room)
        rows, _ = self.rows(places, chosen)
        context = self.mixed(self.taken(qkv, pad, chosen), bias, heads, chosen)
        return context.gather(1, rows[..., None].expand(-1, -1, context.shape[-1]))

    def beside(
        self,
        own: Tensor,
        places: Tensor,
        qkv: Tensor,
        context: Tensor,
        pad: Tensor,
        bias: Tensor,
        heads: int,
        room: int,
    ) -> Tensor:
        """Return the attended values [R, k, D] of tokens that have own values among the base's.

        Tokens in windows that are skipped keep the base's attended values.

        Args:
            own: Own queries [R, k, D], or queries, keys and values [R, k, 3 D].
            places: Places of these tokens, [R, k].
            qkv: The base's, [B, N, 3 D].
            context: The base's attended values, [B, N, D].
            pad: Queries, keys and values of padding, [3 D].
            bias: By map [R, h, c, c].
            heads: Attention heads h.
            room: Windows that are computed.
        """
        maps, count, wide = own.shape
        chosen = self.busiest(places, min(room, self.count))
        rows, covered = self.rows(places, chosen)
        skips = chosen.shape[1] < self.count
        if skips:
            # Tokens in skipped windows write what the first other one writes, to its row: no shape depends on them.
            other = covered.int().argmax(1, keepdim=True)  # [R, 1]
            own = own.where(covered[..., None], own.detach().gather(1, other[..., None].expand(-1, -1, wide)))
            rows = rows.where(covered, rows.gather(1, other))
        cells = self.taken(qkv, pad, chosen)  # [R, W, c, 3 D], a copy of its own
        flat = cells.view(maps * chosen.shape[1] * self.cells, -1)
        first = chosen.shape[1] * self.cells * torch.arange(maps, device=rows.device)[:, None]
        at = (rows + first).flatten()
        if wide < flat.shape[1]:  # queries alone, beside the base's keys and values
            own = torch.cat((own.flatten(0, 1), flat.index_select(0, at)[:, wide:]), 1)
        filled = flat.index_copy(0, at, own.reshape(maps * count, -1)).view_as(cells)
        found = self.mixed(filled, bias, heads, chosen)
        found = found.gather(1, rows[..., None].expand(-1, -1, found.shape[-1]))  # [R, k, D]
        if not skips:
            return found
        base = self.tokens * (torch.arange(maps, device=rows.device) % len(context))[:, None]
        kept = context.flatten(0, 1).index_select(0, (places + base).flatten()).view_as(found)
        return found.where(covered[..., None], kept)
