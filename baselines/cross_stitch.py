"""Cross-stitch networks (Misra et al., CVPR 2016) on dilated ResNets."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from harness.backbones.resnet import ResNetEncoder
from harness.baselines.common.parallel import ParallelMethod, ParallelNets
from harness.baselines.common.tasks import key_of
from harness.problem import Problem


class CrossStitchUnit(nn.Module):
    """Linear combinations of the tasks' maps, x_t <- sum over s of a_ts * x_s, one weight per channel (section 3.2).

    Args:
        tasks: Names of the tasks.
        channels: Channels of every map.
        alpha: First weight of a task's own map.
        beta: First weight of the others.
    """

    def __init__(self, tasks: Sequence[str], channels: int, alpha: float, beta: float) -> None:
        super().__init__()

        def weights(own: bool) -> nn.ParameterDict:
            return nn.ParameterDict({"param": nn.Parameter(torch.full((channels,), alpha if own else beta))})

        self.cross_stitch_unit = nn.ModuleDict(
            {
                key_of(task): nn.ModuleDict({key_of(other): weights(own=other == task) for other in tasks})
                for task in tasks
            }
        )

    def forward(self, maps: Mapping[str, Tensor], wanted: Sequence[str]) -> dict[str, Tensor]:
        """Mix maps [B, C, H, W] of all tasks to those of the tasks wanted, of the same shape."""
        results = {}
        for task in wanted:
            own = f"cross_stitch_unit.{key_of(task)}"
            weights = [self.get_parameter(f"{own}.{key_of(other)}.param")[:, None, None] for other in maps]
            first, *others = maps.values()
            mixed = first * weights[0]  # [B, C, H, W] times [C, 1, 1]
            for map_, weight in zip(others, weights[1:], strict=True):
                mixed = torch.addcmul(mixed, map_, weight)  # term by term: reads every map once, and copies none
            results[task] = mixed
        return results


class CrossStitchNets(ParallelNets):
    """Networks side by side with a cross-stitch unit after each of the four stages.

    Keys and numbers are those of Multi-Task-Learning-PyTorch (Vandenhende et al., TPAMI 2021), where every channel has
    its own weights.

    Args:
        problem: The tasks and the input size.
        encoders: Task name to encoder.
        first: First weights of a task's own map and of each other's.
    """

    def __init__(self, problem: Problem, encoders: Mapping[str, ResNetEncoder], first: tuple[float, float]) -> None:
        super().__init__(problem, encoders)
        stages = next(iter(encoders.values())).stage_channels  # the same for all tasks
        self.cross_stitch = nn.ModuleDict(
            {f"layer{stage}": CrossStitchUnit(self.order, width, *first) for stage, width in enumerate(stages, 1)}
        )

    @property
    def units(self) -> Sequence[nn.Module | None]:
        """None after the stem, then one per stage."""
        # The reference joins after each stage, and not after the stem
        return None, *self.cross_stitch.values()

    def parts(self) -> Mapping[str, nn.Module]:
        """Return encoders and heads, and all units together, which are small."""
        return {**super().parts(), "units": self.cross_stitch}


class CrossStitch(ParallelMethod):
    """One network per task; their features are combined linearly after every stage."""

    name: ClassVar[str] = "cross-stitch"
    summary: ClassVar[str] = "one network per task; features are combined linearly after every stage"
    paper: ClassVar[str | None] = (
        "I. Misra, A. Shrivastava, A. Gupta, M. Hebert. Cross-stitch Networks for Multi-task Learning. CVPR 2016"
    )
    units: ClassVar[str] = "cross_stitch."

    def build(self, problem: Problem) -> CrossStitchNets:
        """Return the model, untrained."""
        return CrossStitchNets(problem, self.encoders(problem), self.options.first_weights(len(problem.tasks)))
