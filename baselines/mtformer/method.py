"""MTFormer as a method: its sizes, checkpoints and training (Xu et al., ECCV 2022)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from torch import Tensor

from harness.backbones import build_backbone
from harness.backbones.swin import SwinEncoder
from harness.baselines.mtformer.model import CONTRAST, MTFormerNet
from harness.data.augment import Augmentation
from harness.method import Budget, Method, MultiTaskModel, Optimizer, Schedule, Stage
from harness.problem import Problem
from harness.training.recipes import supervised_stage
from harness.weights.state import Adapted, State

_CHANNELS = {"swin-micro": 48}
"""Channels of the decoder on encoders of ours; published are 256."""

# Stochastic depth of the encoder, and epochs, as published
_DROP_PATH = 0.3
_EPOCHS = 100
_WEIGHTS = {"semseg": 1.0, "parts": 2.0, "saliency": 30.0, "depth": 1.0, "normals": 10.0, "boundary": 50.0}
"""Weights of the losses, next to the learned ones; those of normals and boundaries, which the authors do not have, are
of the code base that theirs grew from (Vandenhende et al., TPAMI 2021)."""

_GAIN = 10.0
"""Factor of all losses in the authors' code."""


class MTFormer(Method):
    """MTFormer on Swins.

    Published are two sets of tasks, semantic segmentation with depth and semantic segmentation with parts and saliency;
    others are built by the same rules. The network is the authors'. Training is theirs but for the following: there is
    no contrastive loss between tasks; augmentation draws scales evenly and does not rotate; depth beyond 6.55 m, which
    their code leaves out of the loss, is learned; the depth head starts from a typical distance. Images are cropped and
    padded, not resized; biases, norms and other vectors do not decay.
    """

    name: ClassVar[str] = "mtformer"
    summary: ClassVar[str] = "Swin; blocks shared by all and private to each task, then attention across tasks"
    paper: ClassVar[str | None] = (
        "X. Xu, H. Zhao, V. Vineet, S.-N. Lim, A. Torralba. MTFormer: Multi-Task Learning via Transformer and "
        "Cross-Task Reasoning. ECCV 2022"
    )
    default_backbone: ClassVar[Mapping[Budget, str]] = {"quick": "swin-micro", "medium": "swin-t", "full": "swin-s"}
    families: ClassVar[tuple[str, ...]] = ("swin",)

    def build(self, problem: Problem) -> MTFormerNet:
        """Return the network, untrained."""
        encoder = build_backbone(self.backbone, problem.input_size, self.weights)
        assert isinstance(encoder, SwinEncoder)
        if self.backbone not in _CHANNELS:
            encoder.set_drop_path(_DROP_PATH)
        return MTFormerNet(problem, encoder, _CHANNELS.get(self.backbone, 256))

    def stages(self, problem: Problem, budget: Budget) -> list[Stage]:
        """Return one joint stage over all tasks.

        ``full`` is the published recipe: AdamW, 5e-5 for two tasks and half of it for more, weight decay 1e-4,
        100 epochs of batches of four, polynomial decay 0.9 once per epoch. The others are ours.
        """
        if budget != "full":
            return [replace(supervised_stage("joint", problem.names, budget), weigh=weigh_by_uncertainty)]
        few = len(problem.names) <= 2  # published: two tasks of NYUD-v2, three of PASCAL-Context
        scale = (1.0, 1.5) if few else (0.75, 1.25)
        stage = Stage(
            "joint",
            problem.names,
            iterations=0,
            epochs=_EPOCHS,
            batch_size=4,
            optimizer=Optimizer("adamw", lr=5e-5 if few else 2.5e-5, weight_decay=1e-4),
            schedule=Schedule("poly", power=0.9, steps=_EPOCHS),
            augmentation=Augmentation(scale=scale, cat_max_ratio=1.0, photometric=False),
            weigh=weigh_by_uncertainty,
        )
        return [stage]

    def adapt(self, state: State, model: MultiTaskModel) -> Adapted:
        """Take a checkpoint as it is, except for memory banks that are missing or of another size: they stay empty."""
        # Banks hold one feature per training image, so that their size depends on the list of images
        own = {key: value for key, value in model.state_dict().items() if key.startswith(CONTRAST)}
        banks = {key: value for key, value in state.items() if key.startswith(CONTRAST)}
        if not banks:
            return Adapted(state | own, ("has no memory banks; no prediction depends on them",))
        if {key: value.shape for key, value in own.items()} == {key: value.shape for key, value in banks.items()}:
            return Adapted(state)
        rest = {key: value for key, value in state.items() if key not in banks}
        return Adapted(rest | own, ("memory banks that do not fit are left out; no prediction depends on them",))


def weigh_by_uncertainty(model: MultiTaskModel, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return w L 10 exp(-s) + s for the learned uncertainty s of every task (Kendall et al., CVPR 2018).

    Args:
        model: An `MTFormerNet`, which holds the uncertainties.
        losses: Unweighted loss L by task.
    """
    assert isinstance(model, MTFormerNet)
    uncertainty = dict(zip(model.order, model.log_var_list, strict=True))
    return {
        task: _WEIGHTS.get(task, 1.0) * _GAIN * (-uncertainty[task]).exp() * loss + uncertainty[task]
        for task, loss in losses.items()
    }
