"""SAK as a method: its published configuration, its weights of the first stage, its training (Lu et al., ICLR 2025)."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from pydantic import Field, field_validator

from harness.backbones import build_backbone
from harness.backbones.vit import ViTEncoder
from harness.baselines.common.patches import with_encoder
from harness.baselines.sak.model import SAKNet
from harness.baselines.sak.stage_one import load_student, students_weights
from harness.baselines.sak.student import Design
from harness.method import Budget, Method, MethodOptions, Optimizer, Stage
from harness.problem import Problem
from harness.training.recipes import supervised_stage
from harness.weights import WeightFile

_WITHOUT = "sak is trained without its teachers here: published figures need their distillation in both stages"


class SAKOptions(MethodOptions):
    """Shape of the student, by the names of the published configurations."""

    teachers: dict[str, int] = Field(
        default={"dinov2": 0, "clip": 0, "sam": 0},
        description="Teachers, separated by commas, each with the channels of its maps as in dinov2=768, or without.",
    )
    down_ratio: int = Field(default=4, ge=1, description="The student's width over that of an adapter.")
    noisy_gating: bool = Field(
        default=True, description="Whether routers are disturbed by a learned noise in training."
    )
    aligner: bool = Field(
        default=False,
        description="Whether checkpoints hold layers to the widths of the teachers, which no prediction depends on.",
    )

    @field_validator("teachers", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = [part.strip().partition("=") for part in value.split(",")]
        return {name: width or 0 for name, _, width in pairs}

    @field_validator("teachers")
    @classmethod
    def _named(cls, value: dict[str, int]) -> dict[str, int]:
        for name, width in value.items():
            if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or width < 0:
                raise ValueError(f"{name}={width} is no teacher; give small letters, digits and _, and its channels")
        return value


class SAK(Method):
    """A student learns from frozen teachers on ImageNet; then tasks mix what it holds of each.

    The network is the authors', under their keys; no teacher is needed for inference. Training is the second stage of
    theirs without its distillation, for teachers are not part of this project: figures that the authors print need
    them. ``--init FILE`` starts from the student of their first stage, or the ViT of any encoder. Biases, norms and
    other vectors do not decay.
    """

    name: ClassVar[str] = "sak"
    summary: ClassVar[str] = "a ViT with a path of adapters per teacher, mixed by a router of each task"
    paper: ClassVar[str | None] = (
        "Y. Lu, S. Cao, Y.-X. Wang. Swiss Army Knife: Synergizing Biases in Knowledge from Vision Foundation Models "
        "for Multi-Task Learning. ICLR 2025"
    )
    default_backbone: ClassVar[Mapping[Budget, str]] = {"quick": "vit-micro", "full": "vit-b16"}
    families: ClassVar[tuple[str, ...]] = ("vit",)
    Options: ClassVar[type[SAKOptions]] = SAKOptions
    options: SAKOptions

    def build(self, problem: Problem) -> SAKNet:
        """Return the network, untrained.

        Raises:
            UsageError: the weights are those of another student.
        """
        student = students_weights(self.weights) if isinstance(self.weights, WeightFile) else None
        encoder = build_backbone(self.backbone, problem.input_size, None if student else self.weights)
        assert isinstance(encoder, ViTEncoder)
        options = self.options
        teachers = {name: width or encoder.channels for name, width in options.teachers.items()}
        model = SAKNet(problem, encoder, Design(teachers, options.down_ratio, options.noisy_gating, options.aligner))
        if student is not None:
            assert isinstance(self.weights, WeightFile)
            model.notes = load_student(model.backbone, student, self.weights)
        model.notes = (*model.notes, _WITHOUT)
        return model

    def stages(self, problem: Problem, budget: Budget) -> list[Stage]:
        """Return one joint stage over all tasks, without distillation.

        ``full`` is the published second stage: AdamW, 2e-5, weight decay 1e-6, 40 000 iterations, polynomial decay 0.9,
        four images per step (two on each of two devices), gradients clipped at a norm of 10. Other budgets are ours.
        """
        stage = supervised_stage("joint", problem.names, budget)
        if budget != "full":
            return [with_encoder(stage, ("backbone.vit.",))]
        return [replace(stage, batch_size=4, optimizer=Optimizer("adamw", lr=2e-5, weight_decay=1e-6), clip_norm=10.0)]
