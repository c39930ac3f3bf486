"""Networks of a frozen base and corrected sub-tasks; training and inference run the same computation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.backbones.vit import ViTEncoder, set_drop_path
from harness.counting import attributed_to
from harness.methods.share.block import EPS
from harness.methods.share.corrections.active import active_change, whole_change
from harness.methods.share.corrections.parts import Correction, pixels_of
from harness.methods.share.corrections.settings import Setting, Step, drawn
from harness.methods.share.corrections.stacks import Blocks, LowRank, Stack
from harness.methods.share.corrections.trace import Trace, map_of, run_base
from harness.methods.share.model import seeded_head, untrained_head
from harness.methods.share.options import ShareOptions
from harness.model import MultiTaskModel, Predictions, TrainingOutput
from harness.problem import Problem


@dataclass(frozen=True, kw_only=True)
class CorrectedOutput(TrainingOutput):
    """Training output of a sub-task.

    Attributes:
        features: The map [B, D, h, w] that its head read.
    """

    features: Tensor


class CorrectedNets(MultiTaskModel):
    """A base network that runs in full, and sub-tasks that correct its last tokens.

    Args:
        problem: The tasks and the input size.
        base: Encoder of the base task.
        corrections: Sub-task to its parts; the tasks that have none are the base's.
        options: Options of the method.

    Attributes:
        settings: Sub-task to the setting in force, at first the dearest that it is trained for.
        calibrated: Sub-task to the settings that calibration walked; empty without it.
    """

    def __init__(
        self, problem: Problem, base: ViTEncoder, corrections: Mapping[str, Correction], options: ShareOptions
    ) -> None:
        super().__init__(problem)
        self.options, self.base = options, base
        self.corrections = nn.ModuleDict(corrections)
        size = problem.input_size
        self.heads = nn.ModuleDict(
            {
                task.name: (seeded_head if task.name in corrections else untrained_head)(task, base, size)
                for task in problem
            }
        )
        self.depth = len(base.vit.blocks)
        self.attention_heads: int = base.vit.get_submodule("blocks.0.attn").num_heads  # type: ignore[assignment]
        self.settings = {task: part.ladder[-1] for task, part in corrections.items()}
        self.calibrated: dict[str, list[Step]] = {}
        self._drop_path = 0.0
        # Weights side by side, by the sub-tasks and the setting they share; kept in evaluation alone.
        self._stacks: dict[tuple[object, ...], Stack] = {}

    # Parts of the model

    def correction(self, task: str) -> Correction:
        """Return the parts of a sub-task."""
        part = self.corrections[task]
        assert isinstance(part, Correction)
        return part

    def nets(self, base: str) -> "CorrectedNets":
        """Return these networks, which are on the base of one task; see `CandidateNets`."""
        return self

    def parts(self) -> Mapping[str, nn.Module]:
        """Return the base's encoder, and per task its correction and its head."""
        own = {f"correction/{task}": part for task, part in self.corrections.items()}
        return {"base": self.base} | own | {f"head/{task}": head for task, head in self.heads.items()}

    def train(self, mode: bool = True) -> "CorrectedNets":
        """Switch between training and evaluation; weights side by side are forgotten, for training moves them."""
        self._stacks.clear()
        return super().train(mode)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> "CorrectedNets":
        self._stacks.clear()  # they lie on the old device, in the old type
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    @property
    def drop_path(self) -> float:
        """Rate of stochastic depth while the base trains."""
        return self._drop_path

    @drop_path.setter
    def drop_path(self, rate: float) -> None:
        self._drop_path = rate
        set_drop_path(self.base.vit, rate)

    def get_extra_state(self) -> Tensor:
        """Return the rate of stochastic depth, so that a resumed training goes on with it."""
        return torch.tensor(self.drop_path)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore it."""
        self.drop_path = float(state)

    # Prediction

    def forward(self, images: Tensor, tasks: Sequence[str] | None = None) -> Predictions:
        """Run the base once, and from its tokens every sub-task asked for."""
        tasks = tuple(tasks or self.problem.names)
        subs = [task for task in tasks if task in self.corrections]
        trace = self.run_base(images, subs)
        with attributed_to("corrections"):
            features = self.correct(trace, subs)  # task to [B, D, h, w]
        if len(subs) < len(tasks):
            with attributed_to("base"):
                whole: Tensor = self.base.vit.norm(trace.tokens[self.depth])  # [B, 1 + P, D]
            features |= {task: map_of(whole[:, 1:], self.base.grid) for task in tasks if task not in features}
        pixels = self.pixels(images, subs)
        return {task: self.decode(task, features[task], pixels) for task in tasks}

    def run_base(self, images: Tensor, subs: Sequence[str]) -> Trace:
        """Run the base, and keep what sub-tasks read of it."""
        levels: set[int] = set()
        first = self.depth
        for task in subs:
            setting = self.settings[task]
            if setting.corrected:
                levels.update(self.correction(task).shape.levels)
            if setting.first_block is not None:
                levels.add(setting.first_block)
                first = first if self.correction(task).shape.own_keys else min(first, setting.first_block)
        return run_base(self.base, images, frozenset(levels), first)

    def correct(self, trace: Trace, subs: Sequence[str]) -> dict[str, Tensor]:
        """Return the normed maps [B, D, h, w] of sub-tasks.

        Args:
            trace: The base's run.
            subs: The sub-tasks.
        """
        b, p, width = trace.last.shape
        last = trace.last.reshape(b * p, width)
        maps: dict[str, Tensor] = {}
        # 1. The correction of all tokens: c = x_L + gelu([n(x_t)]_t V + v) U, of equal sizes together.
        shapes = {task: self.correction(task).shape for task in subs if self.settings[task].corrected}
        for levels, rank in dict.fromkeys((shape.levels, shape.rank) for shape in shapes.values()):
            low = tuple(task for task, shape in shapes.items() if (shape.levels, shape.rank) == (levels, rank))
            read = torch.cat([F.layer_norm(trace.patches(level), (width,), eps=EPS) for level in levels], dim=-1)
            weights = self._stacked(low, None).low_rank
            assert weights is not None
            hidden = F.gelu(torch.addmm(weights.bias, read.flatten(0, 1), weights.inward))  # [B P, T r]
            hidden = hidden.view(b * p, len(low), rank).transpose(0, 1)  # [T, B P, r]
            # The addend of the product is x_L, so that the residual costs no pass of its own.
            corrected = torch.baddbmm(last.expand(len(low), -1, -1), hidden, weights.outward)  # [T, B P, D]
            maps |= {task: corrected[number] for number, task in enumerate(low)}
        # 2. Active tokens through own blocks, those of equal settings together.
        for setting in dict.fromkeys(self.settings[task] for task in subs):
            if setting.first_block is not None:
                group = tuple(task for task in subs if self.settings[task] == setting)
                self._add_change(trace, group, setting, maps)
        # 3. The own norm, f = LN(c).
        normed = {task: self.correction(task).norm(maps.get(task, last)) for task in subs}
        return {task: map_of(f.view(b, p, width), self.base.grid) for task, f in normed.items()}

    def _add_change(self, trace: Trace, group: tuple[str, ...], setting: Setting, maps: dict[str, Tensor]) -> None:
        """Add to maps [B P, D] of sub-tasks what their own blocks change."""
        stack = self._stacked(group, setting)
        last = trace.last.flatten(0, 1)
        if stack.scorers is None:
            for task, change in zip(group, whole_change(trace, stack, setting, self.attention_heads), strict=True):
                maps[task] = maps.get(task, last) + change
            return
        places, changes = active_change(trace, stack, setting, self.attention_heads)
        for task, place, change in zip(group, places, changes, strict=True):
            if task in maps:  # of the product above, which nobody else holds
                maps[task].index_add_(0, place, change)
            else:
                maps[task] = last.index_add(0, place, change)

    def _stacked(self, tasks: tuple[str, ...], setting: Setting | None) -> Stack:
        """Return weights of sub-tasks side by side: their corrections, or their own blocks that run in a setting."""
        key = (tasks, setting)
        keeps = not self.training and not torch.is_grad_enabled()
        if keeps and key in self._stacks:
            return self._stacks[key]
        parts = [self.correction(task) for task in tasks]
        if setting is None:
            stack = Stack(LowRank.of(parts), None, {})
        else:
            assert setting.first_block is not None
            blocks = {
                index: Blocks.of([part.own(index) for part in parts])
                for index in range(setting.first_block, self.depth)
            }
            scorers = None
            if not parts[0].shape.own_keys:
                weights: list[Tensor] = [part.get_parameter("scorer.weight") for part in parts]
                biases: list[Tensor] = [part.get_parameter("scorer.bias") for part in parts]
                scorers = torch.cat(weights), torch.cat(biases)
            stack = Stack(None, scorers, blocks)
        if keeps:
            self._stacks[key] = stack
        return stack

    def pixels(self, images: Tensor, subs: Sequence[str]) -> Tensor | None:
        """Return the pixels [B, h', w', 3 cell^2] of the heads' cells; None where no sub-task reads them."""
        cells = [self.correction(task).shape.cell for task in subs if self.correction(task).detail is not None]
        return pixels_of(images, cells[0]) if cells else None

    def decode(self, task: str, features: Tensor, pixels: Tensor | None) -> Tensor:
        """Map features [B, D, h, w], and pixels where the head reads them, to the task's raw map at input size."""
        detail = None
        if task in self.corrections and (layer := self.correction(task).detail) is not None:
            detail = layer(pixels)  # [B, h', w', C]
        prediction: Tensor = self.heads[task](features) if detail is None else self.heads[task](features, detail)
        return prediction

    # Training

    def forward_train(self, images: Tensor, tasks: Sequence[str] | None = None) -> TrainingOutput:
        """Predict one task as its stage trains it: the base alone, or a sub-task on the frozen base."""
        [task] = tasks or self.problem.names
        is_base = task not in self.corrections
        self.base.train(is_base)  # a frozen base drops no paths
        if is_base:  # the encoder's own pass: step by step the training of a single network
            return TrainingOutput({task: self.decode(task, self.base(images), None)})
        # The setting of this step; the loop seeds the draw by stage and iteration.
        original = self.settings[task]
        self.settings[task] = drawn(self.correction(task).ladder, float(torch.rand(())))
        try:
            with torch.no_grad():
                trace = self.run_base(images, [task])
            features = self.correct(trace, [task])[task]
        finally:
            self.settings[task] = original
        prediction = self.decode(task, features, self.pixels(images, [task]))
        return CorrectedOutput({task: prediction}, features=features)
