"""ATRC as a method: encoders, genotypes, checkpoints and training (Bruggemann et al., ICCV 2021)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from harness.backbones import build_backbone
from harness.backbones.hrnet import HRNetEncoder
from harness.baselines.atrc.genotype import ORDER, default_genotype, read_genotype
from harness.baselines.atrc.losses import coarse_losses
from harness.baselines.atrc.model import ATRCNet
from harness.baselines.common.tasks import in_order, key_of
from harness.method import Budget, Method, MethodOptions, MultiTaskModel, Optimizer, Schedule, Stage
from harness.problem import Problem
from harness.training.recipes import supervised_stage
from harness.weights.state import Adapted, State

_CRITERION = "criterion."
"""Prefix of buffers of the losses, which the authors' training keeps among the weights."""


class ATRCOptions(MethodOptions):
    """The genotype: what every task reads of every other."""

    genotype: str | None = Field(
        default=None,
        description="One row of digits per target, separated by commas, a digit per source, in the order semseg, "
        "depth, parts, saliency, normals, boundary: 0 nothing, 1 global, 3 regions of the target's labels, 4 of "
        "the source's. None: as searched on NYUD-v2 with HRNet-18 for pairs of its tasks, 3 with itself and 4 "
        "between all others.",
    )


class ATRC(Method):
    """Tasks read each other through attention to all pixels or to the regions of labels, as a search chose per pair.

    The network is the authors', under the same keys. There are no public weights; of the searched genotypes the one of
    HRNet-18 on NYUD-v2 is built in. Training is theirs but for the following: the losses of the final predictions are
    those of this harness; normals are sorted by directions that are spread evenly, not by clusters of the training
    set; the rate of PASCAL-Context is taken where parts or saliency are among the tasks, since a method does not know
    the data set.
    """

    name: ClassVar[str] = "atrc"
    summary: ClassVar[str] = "tasks read each other's pixels or regions on an HRNet, as searched for every pair"
    paper: ClassVar[str | None] = (
        "D. Bruggemann, M. Kanakis, A. Obukhov, S. Georgoulis, L. Van Gool. Exploring Relational Context for "
        "Multi-Task Dense Prediction. ICCV 2021"
    )
    default_backbone: ClassVar[Mapping[Budget, str]] = {"quick": "hrnet-micro", "full": "hrnet18-small"}
    families: ClassVar[tuple[str, ...]] = ("hrnet",)
    Options: ClassVar[type[ATRCOptions]] = ATRCOptions
    options: ATRCOptions

    def build(self, problem: Problem) -> ATRCNet:
        """Return the network, untrained.

        Raises:
            UsageError: the genotype is of other tasks.
        """
        encoder = build_backbone(self.backbone, problem.input_size, self.weights)
        assert isinstance(encoder, HRNetEncoder)
        keys = [key_of(task.name) for task in in_order(problem, ORDER)]
        text = self.options.genotype
        return ATRCNet(problem, encoder, default_genotype(keys) if text is None else read_genotype(text, keys))

    def stages(self, problem: Problem, budget: Budget) -> list[Stage]:
        """Return one joint stage over all tasks, with losses of the coarse predictions.

        ``full`` is the published recipe: SGD with momentum 0.9, 0.01 (PASCAL-Context 0.005), weight decay 5e-4, 40 000
        iterations of 8 images, polynomial decay 0.9. ``quick`` is ours.
        """
        stage = supervised_stage("joint", problem.names, budget)
        if budget == "full":
            rate = 0.005 if {"parts", "saliency"} & set(problem.names) else 0.01
            stage = replace(
                stage,
                batch_size=8,
                optimizer=Optimizer("sgd", lr=rate, weight_decay=5e-4, momentum=0.9),
                schedule=Schedule("poly", power=0.9),
            )
        return [replace(stage, terms=coarse_losses)]

    def adapt(self, state: State, model: MultiTaskModel) -> Adapted:
        """Take a checkpoint as it is, without the buffers of its losses."""
        rest = {key: value for key, value in state.items() if not key.startswith(_CRITERION)}
        left = len(state) - len(rest)
        return Adapted(rest, (f"ignored, as no part of the network: {_CRITERION[:-1]}",) if left else ())
