"""TaskPrompter as a method: its published configurations and training (Ye and Xu, ICLR 2023)."""

from collections.abc import Mapping
from dataclasses import replace
from math import isqrt
from typing import ClassVar

from pydantic import Field, field_validator

from harness.backbones import build_backbone
from harness.backbones.shapes import VITS
from harness.backbones.vit import ViTEncoder
from harness.baselines.common.patches import Published, clipped_stage, published_for
from harness.baselines.taskprompter.model import Design, TaskPrompterNet
from harness.method import Budget, Method, MethodOptions, Stage
from harness.problem import Problem

DESIGNS: dict[tuple[str, Published], Design] = {
    ("vit-l16", "nyud"): Design(768, 768, 16, use_ctr=False, lr=1e-5),
    ("vit-l16", "pascal"): Design(300, 350, 1, use_ctr=True),
    ("vit-b16", "nyud"): Design(768, 768, 16, use_ctr=False, lr=1e-5),
    ("vit-b16", "pascal"): Design(780, 1024, 16, use_ctr=True),
    ("vit-s16", "nyud"): Design(96, 128, 4, use_ctr=False),
    ("vit-s16", "pascal"): Design(80, 112, 1, use_ctr=True),
    ("vit-t16", "nyud"): Design(48, 64, 4, use_ctr=False),
    ("vit-t16", "pascal"): Design(40, 56, 1, use_ctr=True),
    ("vit-micro", "nyud"): Design(48, 64, 4, use_ctr=False, drop_path=0.0),
    ("vit-micro", "pascal"): Design(40, 56, 1, use_ctr=True, drop_path=0.0),
}
"""By encoder and data set. Published are both on ViT-L and PASCAL-Context's on ViT-B; tables print a model for NYUD-v2
on ViT-B whose configuration is not public, for which ViT-L's stands here. The smaller ones are ours."""


class TaskPrompterOptions(MethodOptions):
    """Widths of the decoder, by the names of the published configurations.

    Left out, they are those published for the encoder: for PASCAL-Context where parts or saliency is among the tasks,
    else for NYUD-v2.
    """

    embed_dim: int | None = Field(default=None, ge=1, description="Channels over space and over channels.")
    final_embed_dim: int | None = Field(default=None, ge=1, description="Channels of the features of a task.")
    chan_nheads: int | None = Field(default=None, ge=1, description="Windows of the channel branch, a square number.")
    use_ctr: bool | None = Field(default=None, description="Whether features of tasks are mixed.")

    @field_validator("chan_nheads")
    @classmethod
    def _square(cls, value: int | None) -> int | None:
        if value is not None and isqrt(value) ** 2 != value:
            raise ValueError(f"{value} is no square number; windows are cut equally along both sides")
        return value


class TaskPrompter(Method):
    """Prompts of tasks attend together with the tokens of an image.

    The network is the authors', under their keys. Training is theirs but for the weight decay, which biases and norms
    are spared.
    """

    name: ClassVar[str] = "taskprompter"
    summary: ClassVar[str] = "prompts of tasks go through a ViT with the image; what they attend to makes features"
    paper: ClassVar[str | None] = (
        "H. Ye, D. Xu. TaskPrompter: Spatial-Channel Multi-Task Prompting for Dense Scene Understanding. ICLR 2023"
    )
    default_backbone: ClassVar[Mapping[Budget, str]] = {"quick": "vit-micro", "full": "vit-l16"}
    families: ClassVar[tuple[str, ...]] = ("vit",)
    Options: ClassVar[type[TaskPrompterOptions]] = TaskPrompterOptions
    options: TaskPrompterOptions

    def design(self, problem: Problem) -> Design:
        """Return the widths for a problem: those published, but for what the options say."""
        given = {name: value for name, value in self.options.model_dump().items() if value is not None}
        return replace(DESIGNS[self.backbone, published_for(problem)], **given)

    def build(self, problem: Problem) -> TaskPrompterNet:
        """Return the network, untrained."""
        encoder = build_backbone(self.backbone, problem.input_size, self.weights)
        assert isinstance(encoder, ViTEncoder)
        return TaskPrompterNet(problem, encoder, self.design(problem))

    def stages(self, problem: Problem, budget: Budget) -> list[Stage]:
        """Return one joint stage over all tasks."""
        prompts = tuple(f"backbone.blocks.{number}.attn.token_trans" for number in range(VITS[self.backbone].depth))
        return [clipped_stage(problem, budget, self.design(problem).lr, fresh=prompts)]
