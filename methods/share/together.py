"""Engine of tokens: the base and the active tokens of all sub-tasks, block by block together."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.counting import attributed_to
from harness.methods.share.delta import Delta
from harness.methods.share.encoder import FunctionalEncoder, OwnPart, Resolution, Weights
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
        weights: Their weights by resolution.
        counts: Active tokens per image, by block.
    """

    tasks: tuple[str, ...]
    part: OwnPart
    weights: tuple[StackedWeights, ...]
    counts: tuple[int, ...]

    def counts_in(self, resolution: Resolution) -> list[int]:
        """Return the active tokens of the own blocks at a resolution."""
        held = zip(self.part.blocks, self.counts, strict=True)
        return [count for index, count in held if index in resolution.blocks]


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

    def __init__(self, functional: FunctionalEncoder, base: Weights, deltas: Mapping[str, Delta]) -> None:
        super().__init__()
        self.functional, self.base = functional, base
        self.deltas = dict(deltas)  # the model's own, so no children here
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
        frozen = torch.no_grad if self.training else nullcontext
        # 1. Tokens before the blocks, and the sub-tasks' own where even they differ.
        with frozen(), attributed_to("base"):
            x = functional.embed(self.base, images)  # [B, N, D]
        own = {one.tasks: self._embedded(one, images) for one in companies if one.part.embedding}
        levels: dict[tuple[str, ...], list[Tensor]] = {one.tasks: [] for one in companies}
        ends = {}
        for number, resolution in enumerate(functional.resolutions):
            # 2. Where tokens are merged, all of a sub-task's are: [T, B, N, D].
            start, walks = resolution.blocks.start, []
            for one in companies:
                walks.append((one, TokenWalk(one.weights[number], one.counts_in(resolution), keys)))
                if number and start in one.part.blocks:
                    with attributed_to(_part_of(one)):
                        own[one.tasks] = self._merged(one, start, number, own.get(one.tasks), x)
            with frozen(), attributed_to("base"):
                x = functional.enter(self.base, start, x)
            # 3. The blocks; sub-tasks enter by the first of them that is their own.
            x = self._blocks(resolution.blocks, x, walks, own)
            ends[resolution.blocks.stop] = x
            for one, walk in walks:
                with attributed_to(_part_of(one)):
                    if resolution.norm is not None:
                        levels[one.tasks].append(walk.features(x))
                    if number + 1 < len(functional.resolutions) and one.part.blocks.start < resolution.blocks.stop:
                        own[one.tasks] = walk.whole(x)
        with frozen(), attributed_to("base"):
            yield "", functional.features(self.base, ends)
        for one in companies:
            with attributed_to(_part_of(one)):
                maps = [functional.assembled(list(parts)) for parts in zip(*levels[one.tasks], strict=True)]
            yield from zip(one.tasks, maps, strict=True)

    def _blocks(
        self,
        blocks: Sequence[int],
        x: Tensor,
        walks: Sequence[tuple[Company, TokenWalk]],
        own: Mapping[tuple[str, ...], Tensor],
    ) -> Tensor:
        """Run the base's blocks of one resolution and the sub-tasks beside them; return the base's tokens [B, N, D]."""
        frozen = torch.no_grad if self.training else nullcontext
        for index in blocks:
            block = self.functional.block_weights(self.base, index)
            # 1. The base's attention, before its keys and values are lent: x' = x + Attention(LN1(x)).
            with frozen(), attributed_to("base"):
                qkv = block.qkv.linear(block.norm1.norm(x))  # [B, N, 3 D]
                context = block.context(qkv)
            # 2. The sub-tasks' block, from the same keys and values.
            for one, walk in walks:
                if index in one.part.blocks:
                    with attributed_to(_part_of(one)):
                        walk.advance(index, x, qkv, context, own.get(one.tasks))
            # 3. The rest of the base's block: y = x' + MLP(LN2(x')).
            with frozen(), attributed_to("base"):
                x = x + block.proj.linear(context)
                x = x + block.fc2.linear(F.gelu(block.fc1.linear(block.norm2.norm(x))))
        return x

    def _merged(self, one: Company, index: int, number: int, own: Tensor | None, x: Tensor) -> Tensor:
        """Return the own tokens of sub-tasks after they were merged before a block, [T, B, N, D]."""
        before = [x] * len(one.tasks) if own is None else list(own)
        merging = zip(one.weights[number].entering, before, strict=True)
        return torch.stack([self.functional.enter(weights, index, tokens) for weights, tokens in merging])

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
                self._stacked([self.deltas[sub.name].merged(self.base)], sub.part),
                active_counts(self.functional, sub.part, sub.fractions),
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
                active_counts(self.functional, sub.part, sub.fractions) if (sub := asked.get(task)) else None
                for task in stack.tasks
            ]
            first = 0
            for at, count in enumerate(counts):
                if at + 1 < len(counts) and counts[at + 1] == count and not self.one_by_one:
                    continue
                if count is not None:
                    tasks = stack.tasks[first : at + 1]
                    found.append(Company(tasks, asked[tasks[0]].part, stack.part(first, at + 1), count))
                first = at + 1
        return found

    def _stack(self, subs: Sequence[SubTask]) -> None:
        """Stack the weights of all sub-tasks that begin to differ at the same block."""
        # Weights that are kept must not be of the inference mode that happens to be on.
        with torch.inference_mode(False), torch.no_grad():
            for part in dict.fromkeys(sub.part for sub in subs):
                tasks = [sub.name for sub in subs if sub.part == part]
                weights = [self.deltas[task].merged(self.base) for task in tasks]
                self.stacks.append(Stack(tasks, self._stacked(weights, part)))
                for task in tasks if not part.embedding else ():
                    self.deltas[task].forget_merged()  # the stack has them

    def _stacked(self, weights: Sequence[Weights], part: OwnPart) -> tuple[StackedWeights, ...]:
        """Return the stacked weights of sub-tasks by resolution."""
        return tuple(
            StackedWeights.of(weights, self.base, self.functional, resolution, part.blocks.start)
            for resolution in self.functional.resolutions
        )


def active_counts(functional: FunctionalEncoder, part: OwnPart, fractions: Sequence[float]) -> tuple[int, ...]:
    """Return the active tokens per image of every block of a sub-task's own; they never grow while N stays the same.

    Args:
        functional: The encoder's computations.
        part: The blocks.
        fractions: Fraction of active tokens of each of them.
    """
    counts: list[int] = []
    for resolution in functional.resolutions:
        inside = [
            fraction for index, fraction in zip(part.blocks, fractions, strict=True) if index in resolution.blocks
        ]
        counts += nested_counts(inside, resolution.tokens)
    return tuple(counts)


def _part_of(one: Company) -> str:
    return f"delta/{one.tasks[0]}" if len(one.tasks) == 1 else "deltas"
