"""The network of MTI-Net."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from harness.backbones.hrnet import HRNetEncoder
from harness.backbones.maps import at_finest, resize
from harness.baselines.common.auxiliary import AuxiliaryModel, TaskMaps
from harness.baselines.common.distillation import Distillation
from harness.baselines.common.reference import channels_of, in_order, key_of
from harness.baselines.mti_net.propagation import FeaturePropagation
from harness.baselines.mti_net.scale import Scale
from harness.counting.parts import attributed_to
from harness.heads.high_resolution import HighResolutionHead
from harness.model import Predictions
from harness.problem import Problem, TaskSpec


class MultiScaleNet(AuxiliaryModel):
    """Tasks predict at every scale of an HRNet, pass features on to the next finer one, and distil at each.

    Keys and numbers are those of ``MTINet`` in Multi-Task-Learning-PyTorch.

    Args:
        problem: The tasks and the input size.
        encoder: Gives the maps of the four scales.
        auxiliary: Tasks of the intermediate predictions, those of the problem among them, in the reference's order.
    """

    def __init__(self, problem: Problem, encoder: HRNetEncoder, auxiliary: Sequence[TaskSpec]) -> None:
        super().__init__(problem)
        tasks = in_order(problem)
        keys = [key_of(task.name) for task in auxiliary]
        c0, c1, c2, c3 = encoder.scale_channels
        self.backbone = encoder
        self.scale_0 = Scale(auxiliary, c0 + c1, c0)
        self.scale_1 = Scale(auxiliary, c1 + c2, c1)
        self.scale_2 = Scale(auxiliary, c2 + c3, c2)
        self.scale_3 = Scale(auxiliary, c3, c3)
        self.fpm_scale_1 = FeaturePropagation(keys, c1)
        self.fpm_scale_2 = FeaturePropagation(keys, c2)
        self.fpm_scale_3 = FeaturePropagation(keys, c3)
        self.distillation_scale_0 = Distillation(tasks, auxiliary, c0)
        self.distillation_scale_1 = Distillation(tasks, auxiliary, c1)
        self.distillation_scale_2 = Distillation(tasks, auxiliary, c2)
        self.distillation_scale_3 = Distillation(tasks, auxiliary, c3)
        self.heads = nn.ModuleDict(
            {
                key_of(task.name): HighResolutionHead(encoder.channels, channels_of(task), problem.input_size)
                for task in tasks
            }
        )

    def forward(self, images: Tensor, tasks: Sequence[str] | None = None) -> Predictions:
        """Predict; the predictions of the scales, which nothing depends on, are left out."""
        return self._decode(self._features(images), tasks)

    def with_auxiliary(
        self, images: Tensor, tasks: Sequence[str] | None = None
    ) -> tuple[Predictions, tuple[TaskMaps, ...]]:
        """Predict, and return the predictions of the four scales, finest first: [B, C, H/s, W/s], s = 4, 8, 16, 32."""
        features = self._features(images)
        scales = (self.scale_0, self.scale_1, self.scale_2, self.scale_3)
        return self._decode(features, tasks), tuple(
            scale.predict(maps) for scale, maps in zip(scales, features, strict=True)
        )

    def parts(self) -> Mapping[str, nn.Module]:
        """Return the encoder, the modules of the scales, and one head per task."""
        shared = {name: module for name, module in self.named_children() if "scale_" in name}
        heads = {f"head/{task}": self.heads[key_of(task)] for task in self.problem.names}
        return {"encoder": self.backbone} | shared | heads

    def _features(self, images: Tensor) -> tuple[TaskMaps, ...]:
        """Return the features of every task at every scale, finest first."""
        with attributed_to("encoder"):
            map0, map1, map2, map3 = self.backbone.scales(images)
        features3 = self.scale_3(dict.fromkeys(self.fpm_scale_3.tasks, map3))
        features2 = self.scale_2(_beside(map2, self.fpm_scale_3(features3)))
        features1 = self.scale_1(_beside(map1, self.fpm_scale_2(features2)))
        features0 = self.scale_0(_beside(map0, self.fpm_scale_1(features1)))
        return features0, features1, features2, features3

    def _decode(self, features: Sequence[TaskMaps], tasks: Sequence[str] | None) -> Predictions:
        """Distil at every scale and predict from all of them."""
        names = tasks or self.problem.names
        keys = [key_of(task) for task in names]
        modules = (
            self.distillation_scale_0,
            self.distillation_scale_1,
            self.distillation_scale_2,
            self.distillation_scale_3,
        )
        distilled = [module(maps, keys) for module, maps in zip(modules, features, strict=True)]
        return {
            name: self.heads[key](at_finest([maps[key] for maps in distilled]))
            for name, key in zip(names, keys, strict=True)
        }


def _beside(map_: Tensor, coarser: TaskMaps) -> TaskMaps:
    """Concatenate a map of the encoder with every task's features of the scale below, enlarged to its size."""
    return {task: torch.cat([map_, resize(features, map_)], dim=1) for task, features in coarser.items()}
