"""MLoRE as a method: its published configurations and training (Yang et al., CVPR 2024)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Self

from pydantic import Field, field_validator, model_validator
from torch import Tensor

from harness.backbones import build_backbone
from harness.backbones.vit import ViTEncoder
from harness.baselines.common.patches import Published, clipped_stage, published_for
from harness.baselines.mlore.experts import Widths
from harness.baselines.mlore.model import Design, MLoRENet, Variant
from harness.counting import MacReport, count_macs
from harness.method import Accounting, Budget, Method, MethodOptions, MultiTaskModel, Stage, TrainingOutput
from harness.problem import Problem

_BY_16, _BY_8, _BY_4 = tuple(range(16, 241, 16)), tuple(range(16, 129, 8)), tuple(range(4, 61, 4))
"""Ranks of the fifteen experts as published for NYUD-v2, for PASCAL-Context, and as ours on small ViTs."""

DESIGNS: dict[tuple[str, Published], Design] = {
    ("vit-l16", "nyud"): Design(Widths(768, _BY_16, 16, 9, True), lr=1e-5, load_balancing=5e-4),
    ("vit-l16", "pascal"): Design(Widths(452, _BY_8, 72, 9, False), load_balancing=3e-4),
    ("vit-b16", "nyud"): Design(Widths(640, _BY_16, 16, 9, True), "vitB", lr=1e-5, load_balancing=5e-4),
    ("vit-b16", "pascal"): Design(Widths(640, _BY_8, 64, 9, False), "vitB"),
    ("vit-s16", "nyud"): Design(Widths(96, _BY_8, 16, 9, True)),
    ("vit-s16", "pascal"): Design(Widths(96, _BY_8, 16, 9, False)),
    ("vit-t16", "nyud"): Design(Widths(48, _BY_4, 8, 9, True)),
    ("vit-t16", "pascal"): Design(Widths(48, _BY_4, 8, 9, False)),
    ("vit-micro", "nyud"): Design(Widths(48, tuple(range(1, 16)), 4, 9, True), drop_path=0.0),
    ("vit-micro", "pascal"): Design(Widths(48, tuple(range(1, 16)), 4, 9, False), drop_path=0.0),
}
"""By encoder and data set. Published are both on ViT-L and PASCAL-Context's on ViT-B; on ViT-B the one for NYUD-v2 is
ours, of that encoder's width with the experts that ViT-L has there. The smaller ones are ours."""


class MLoREOptions(MethodOptions):
    """Shape of the mixtures, by the names of the published configurations.

    Left out, they are those published for the encoder: for PASCAL-Context where parts or saliency is among the tasks,
    else for NYUD-v2.
    """

    final_embed_dim: int | None = Field(default=None, ge=4, description="Channels of the features of a task.")
    rank_list: tuple[int, ...] | None = Field(default=None, description="Ranks of the experts, separated by commas.")
    spe_rank: int | None = Field(default=None, ge=1, description="Rank of each task's own convolution.")
    topk: int | None = Field(default=None, ge=1, description="Experts that are active for an image and a task.")
    pre_softmax: bool | None = Field(default=None, description="Softmax over the active experts alone.")
    variant: Variant | None = Field(
        default=None, description="Which public model file: that for ViT-B has weights that serve nothing."
    )

    @field_validator("rank_list", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(value.split(",")) if isinstance(value, str) else value

    @field_validator("rank_list")
    @classmethod
    def _ranks(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and (not value or min(value) < 1):
            raise ValueError("experts have ranks of at least 1, and there is at least one")
        return value

    @model_validator(mode="after")
    def _enough(self) -> Self:
        ranks = 15 if self.rank_list is None else len(self.rank_list)
        if (self.topk or 9) > ranks:
            raise ValueError(f"topk: {self.topk or 9} of {ranks} experts cannot be active")
        return self


class MLoREAccounting(Accounting["MLoRE"]):
    """Costs of inference with merged kernels, which are made once and not with every image."""

    def macs(self, model: MultiTaskModel, images: Tensor) -> MacReport:
        """Count the MACs of one forward pass of all tasks with the kernels that are ready."""
        assert isinstance(model, MLoRENet)
        model.merge()
        count = count_macs(lambda: model(images), model.parts())
        return MacReport(executed=count, dense=count.macs)


class MLoRE(Method):
    """Experts of low rank that tasks share, chosen for every image by a router of each task.

    The network is the authors', under their keys. For inference, what is linear in it is one convolution per task,
    image and mixture, as in the form that they re-parameterise; its kernels are made when the weights change. Training
    is theirs but for the loss of boundaries, whose pixels weigh 0.95 here and 0.88 to 0.95 there, and for the weight
    decay, which biases and norms are spared.
    """

    name: ClassVar[str] = "mlore"
    summary: ClassVar[str] = "low-rank experts that tasks share, chosen by a router of each task"
    paper: ClassVar[str | None] = (
        "Y. Yang, P.-T. Jiang, Q. Hou, H. Zhang, J. Chen, B. Li. Multi-Task Dense Prediction via Mixture of Low-Rank "
        "Experts. CVPR 2024"
    )
    default_backbone: ClassVar[Mapping[Budget, str]] = {"quick": "vit-micro", "full": "vit-l16"}
    families: ClassVar[tuple[str, ...]] = ("vit",)
    Options: ClassVar[type[MLoREOptions]] = MLoREOptions
    options: MLoREOptions
    Accounting: ClassVar[type[MLoREAccounting]] = MLoREAccounting

    def design(self, problem: Problem) -> Design:
        """Return the design for a problem: that published, but for what the options say."""
        published = DESIGNS[self.backbone, published_for(problem)]
        given = {name: value for name, value in self.options.model_dump().items() if value is not None}
        variant = given.pop("variant", published.variant)
        return replace(published, widths=replace(published.widths, **given), variant=variant)

    def build(self, problem: Problem) -> MLoRENet:
        """Return the network, untrained."""
        encoder = build_backbone(self.backbone, problem.input_size, self.weights)
        assert isinstance(encoder, ViTEncoder)
        return MLoRENet(problem, encoder, self.design(problem))

    def stages(self, problem: Problem, budget: Budget) -> list[Stage]:
        """Return one joint stage over all tasks, with the auxiliary loss that balances the experts."""
        design = self.design(problem)

        def balance(model: MultiTaskModel, batch: object, output: TrainingOutput) -> dict[str, Tensor]:
            assert isinstance(model, MLoRENet)
            return {"balance": design.load_balancing * model.imbalance()}

        return [replace(clipped_stage(problem, budget, design.lr), terms=balance)]
