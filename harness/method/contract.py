"""Contract of a method: one way to serve all tasks, as a single class in a single file."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from harness.method.options import MethodOptions
from harness.model import MultiTaskModel
from harness.problem import Problem
from harness.recipe import Budget, Stage
from harness.weights import Weights


class Method(ABC):
    """A way to serve all tasks of a problem.

    A method has a ``name``, a ``summary``, `build` and `stages`; `harness.method.optional` has all that it may add.

    Args:
        options: The method's options, an instance of ``Options``.
        backbone: Name of the encoder, a key of `harness.backbones`.
        weights: Start of the encoders, to be handed to `harness.backbones.build_backbone`.
    """

    name: ClassVar[str]
    """Name on the command line, in kebab case."""
    summary: ClassVar[str]
    """One line for ``harness ls methods``."""
    Options: ClassVar[type[MethodOptions]] = MethodOptions

    paper: ClassVar[str | None] = None
    """Citation of the paper the method comes from."""
    is_reference: ClassVar[bool] = False
    """Whether the multi-task gain of others is taken against this method."""
    default_backbone: ClassVar[Mapping[Budget, str]] = {"quick": "vit-micro", "full": "vit-b16"}
    """Encoder of a budget unless the user names one; without ``medium`` that is ``vit-s16`` where it runs."""
    families: ClassVar[tuple[str, ...]] = ()
    """Families of encoders it runs on, keys of `harness.backbones.FAMILIES`; empty for all."""

    def __init__(self, options: MethodOptions, backbone: str, weights: Weights = None) -> None:
        self.options = options
        self.backbone = backbone
        self.weights = weights

    @classmethod
    def backbone_of(cls, budget: Budget) -> str:
        """Return the encoder that a budget takes unless the user names one."""
        default = cls.default_backbone
        if budget in default:
            return default[budget]
        return "vit-s16" if not cls.families or "vit" in cls.families else default["full"]

    @abstractmethod
    def build(self, problem: Problem) -> MultiTaskModel:
        """Return an untrained model for ``problem``."""

    @abstractmethod
    def stages(self, problem: Problem, budget: Budget) -> list[Stage]:
        """Return the training recipe of a budget."""
