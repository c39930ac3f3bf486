"""Engine of tokens: the base and the active tokens of all sub-tasks, block by block together."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.counting import attributed_to
from harness.methods.share.block import BlockWeights, attention
from harness.methods.share.delta import Delta
from harness.methods.share.encoder import FunctionalViT, OwnPart, Weights
from harness.methods.share.execution import Stack, StackedWeights, TokenWalk, nested_counts
from harness.methods.share.options import Keys


@dataclass(frozen=True)
class SubTask:
    """One sub-task as an engine sees it.

    Attributes:
        name: Its name.
        part: The part of the encoder that it computes itself.
        fractions: Fraction of active tokens of each block of that part.
    """

    name: str
    part: OwnPart
    fractions: tuple[float, ...]


@dataclass(frozen=True)
class Company:
    """Sub-tasks that run as one: they differ from the same block on, and have equally many active tokens.

    Attributes:
        tasks: Their names.
        part: The part of the encoder that they compute.
        weights: Their weights.
        counts: Active tokens per image, by block.
    """

    tasks: tuple[str, ...]
    part: OwnPart
    weights: StackedWeights
    counts: tuple[int, ...]


class TokenEngine(nn.Module):
    """Runs the base once and every sub-task beside it, so that nothing of the base is kept for later.

    Args:
        functional: The encoder's computations.
        base: The base's weights.
        deltas: Differences of all sub-tasks.

    Attributes:
        stacks: Stacked weights, formed at the first call in evaluation.
        one_by_one: Run sub-tasks one by one, so that a count of MACs knows whose they are.
    """

    def __init__(self, functional: FunctionalViT, base: Weights, deltas: Mapping[str, Delta]) -> None:
        super().__init__()
        self.functional, self.base = functional, base
        self.deltas = dict(deltas)  # the model's own, so no children here
        self.blocks = [BlockWeights.of(base, index, functional.heads) for index in range(functional.depth)]
        self.tokens = 1 + functional.grid[0] * functional.grid[1]
        self.stacks = nn.ModuleList()
        self.one_by_one = False

    def train(self, mode: bool = True) -> "TokenEngine":
        """Switch between training and evaluation; stacked weights are forgotten, for training moves them."""
        self.stacks = nn.ModuleList()
        return super().train(mode)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "TokenEngine":
        """Move to another device or type; weights are stacked again there."""
        self.stacks = nn.ModuleList()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def encode(
        self, images: Tensor, wanted: Sequence[SubTask], subs: Sequence[SubTask], keys: Keys
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield the map [B, D, h, w] of the base, named "", and of every sub-task wanted.

        Args:
            images: [B, 3, H, W].
            wanted: Sub-tasks to compute.
            subs: All sub-tasks of the model, which are stacked together.
            keys: Keys and values that active tokens attend to.
        """
        functional = self.functional
        companies = self._learning(wanted) if self.training else self._companies(wanted, subs)
        walks = [(one, TokenWalk(one.weights, one.counts, functional.heads, keys)) for one in companies]
        frozen = torch.no_grad if self.training else nullcontext
        # 1. Tokens before the blocks, and the sub-tasks' own where even they differ.
        with frozen(), attributed_to("base"):
            x = functional.embed(self.base, images)  # [B, N, D]
        own = {one.tasks: self._embedded(one, images) for one in companies if one.part.embedding}
        for index, block in enumerate(self.blocks):
            # 2. The base's attention, before its keys and values are lent: x' = x + Attention(LN1(x)).
            with frozen(), attributed_to("base"):
                qkv = block.qkv.linear(block.norm1.norm(x))  # [B, N, 3 D]
                context = attention(qkv.chunk(3, dim=-1)[0], qkv, block.heads)
            # 3. The sub-tasks' block, from the same keys and values.
            for one, walk in walks:
                if index in one.part.blocks:
                    with attributed_to(_part_of(one)):
                        walk.advance(index, x, qkv, own.get(one.tasks))
            # 4. The rest of the base's block: y = x' + MLP(LN2(x')).
            with frozen(), attributed_to("base"):
                x = x + block.proj.linear(context)
                x = x + block.fc2.linear(F.gelu(block.fc1.linear(block.norm2.norm(x))))
        with frozen(), attributed_to("base"):
            yield "", functional.features(self.base, x)
        for one, walk in walks:
            with attributed_to(_part_of(one)):
                features = walk.features(x)  # [T, B, N, D]
            yield from zip(one.tasks, map(functional.as_map, features), strict=True)

    def _embedded(self, one: Company, images: Tensor) -> Tensor:
        """Return the own tokens of sub-tasks before the first block, [T, B, N, D]."""
        with attributed_to(_part_of(one)):
            return torch.stack(
                [self.functional.embed(self.deltas[task].merged(self.base), images) for task in one.tasks]
            )

    def _learning(self, wanted: Sequence[SubTask]) -> list[Company]:
        """Return sub-tasks one by one, with weights that carry gradients."""
        return [
            Company(
                (sub.name,),
                sub.part,
                StackedWeights.of(
                    [self.deltas[sub.name].merged(self.base)], self.base, sub.part.blocks, self.functional.heads
                ),
                tuple(nested_counts(sub.fractions, self.tokens)),
            )
            for sub in wanted
        ]

    def _companies(self, wanted: Sequence[SubTask], subs: Sequence[SubTask]) -> list[Company]:
        """Return runs of neighbours in a stack that are wanted and have equally many active tokens."""
        if not len(self.stacks):
            self._stack(subs)
        asked = {sub.name: sub for sub in wanted}
        found = []
        for stack in self.stacks:
            assert isinstance(stack, Stack)
            counts = [
                tuple(nested_counts(asked[task].fractions, self.tokens)) if task in asked else None
                for task in stack.tasks
            ]
            keyed = [(count, at if self.one_by_one else 0) for at, count in enumerate(counts)]
            for (count, _), group in groupby(range(len(counts)), keyed.__getitem__):
                places = list(group)
                if count is not None:
                    tasks = tuple(stack.tasks[at] for at in places)
                    weights = stack.part(places[0], places[-1] + 1)
                    found.append(Company(tasks, asked[tasks[0]].part, weights, count))
        return found

    def _stack(self, subs: Sequence[SubTask]) -> None:
        """Stack the weights of all sub-tasks that begin to differ at the same block."""
        # Weights that are kept must not be of the inference mode that happens to be on.
        with torch.inference_mode(False), torch.no_grad():
            for part in dict.fromkeys(sub.part for sub in subs):
                tasks = [sub.name for sub in subs if sub.part == part]
                weights = [self.deltas[task].merged(self.base) for task in tasks]
                stacked = StackedWeights.of(weights, self.base, part.blocks, self.functional.heads)
                self.stacks.append(Stack(tasks, stacked))
                for task in tasks if not part.embedding else ():
                    self.deltas[task].forget_merged()  # the stack has them


def _part_of(one: Company) -> str:
    return f"delta/{one.tasks[0]}" if len(one.tasks) == 1 else "deltas"
