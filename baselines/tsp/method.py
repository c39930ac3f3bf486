"""TSP-Transformer as a method (Wang et al., WACV 2024)."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from harness.backbones import build_backbone
from harness.backbones.vit import ViTEncoder
from harness.baselines.invpt.decoder import design_on
from harness.baselines.tsp.model import PromptedInvPT, Prompts
from harness.method import Budget, Method, MethodOptions, Stage
from harness.problem import Problem
from harness.training.recipes import supervised_stage


class TSPOptions(MethodOptions):
    """Places of the prompts. A method does not know the data set, so the set of tasks decides by default."""

    prompts: Literal["deep", "shallow"] | None = Field(
        default=None,
        description="Blocks that read prompts: `deep` the last ones, published for NYUD-v2, `shallow` the first ones, "
        "published for PASCAL-Context. None: deep where depth is among the tasks, else shallow.",
    )
    prompt_layers: int | None = Field(
        default=None,
        ge=1,
        description="Block from which `deep` goes and up to which `shallow` goes, counted from 0. None: half of the "
        "blocks, as published.",
    )
    prompt_tokens: int = Field(default=5, ge=1, description="Prompts of a task in a block; published are 5.")


class TSP(Method):
    """InvPT whose encoder runs with prompts of one task at a time.

    The network is the one of the authors' code, under the same keys; published are two of it, on ViT-L. Blocks before
    the first prompt are run once for all tasks, which gives the same maps; the authors' code runs them once per task.
    Training is InvPT's, as published, but that a block left out by stochastic depth is left out for all tasks there.
    """

    name: ClassVar[str] = "tsp"
    summary: ClassVar[str] = "InvPT's decoder on an encoder that reads prompts of every task"
    paper: ClassVar[str | None] = (
        "S. Wang, J. Li, Z. Zhao, D. Lian, B. Huang, X. Wang, Z. Li, S. Gao. TSP-Transformer: Task-Specific Prompts "
        "Boosted Transformer for Holistic Scene Understanding. WACV 2024"
    )
    default_backbone: ClassVar[Mapping[Budget, str]] = {"quick": "vit-micro", "full": "vit-l16"}
    families: ClassVar[tuple[str, ...]] = ("vit",)
    Options: ClassVar[type[TSPOptions]] = TSPOptions
    options: TSPOptions

    def build(self, problem: Problem) -> PromptedInvPT:
        """Return the model, untrained.

        Raises:
            UsageError: there are fewer blocks than ``prompt_layers`` says.
        """
        encoder = build_backbone(self.backbone, problem.input_size, self.weights)
        assert isinstance(encoder, ViTEncoder)
        options = self.options
        kind = options.prompts or ("deep" if "depth" in problem.names else "shallow")
        prompts = Prompts.on(len(encoder.vit.blocks), kind, options.prompt_layers, options.prompt_tokens)
        return PromptedInvPT(problem, encoder, design_on(self.backbone), prompts)

    def stages(self, problem: Problem, budget: Budget) -> list[Stage]:
        """Return one joint stage over all tasks, with InvPT's recipe."""
        return [supervised_stage("joint", problem.names, budget)]
