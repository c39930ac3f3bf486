"""MTLoRA and MTLoRA+ as a method (Agiza et al., CVPR 2024)."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from harness.backbones import build_backbone
from harness.backbones.shapes import SWINS
from harness.backbones.swin import SwinEncoder
from harness.baselines.mtlora.adapted import Ranks
from harness.baselines.mtlora.model import MTLoRANet
from harness.data.augment import Augmentation
from harness.method import Budget, Method, MethodOptions, MultiTaskModel, Optimizer, Schedule, Stage
from harness.problem import Problem
from harness.training.recipes import supervised_stage
from harness.weights.state import Adapted, State

DECODER_CHANNELS = {"swin-micro": (8, 16, 24, 32)}
"""Channels that a decoder reads of each stage on encoders of ours; published are (18, 36, 72, 144)."""

_RANKS = {"swin-micro": (8, 4)}
"""Ranks of all tasks and of each on encoders of ours, whose layers are narrower than the published 64."""

_DROP_PATH = 0.2
_DROPOUT = 0.05
_BATCH = 32
_EPOCHS = 300

_MADE = ("attn_mask", "relative_position_index")
"""Ends of the keys of buffers that follow from the sizes of window and map."""


class MTLoRAOptions(MethodOptions):
    """Low-rank factors; the scales are those of the authors' code, which takes the one of all tasks for each."""

    shared_rank: int | None = Field(
        default=None, ge=1, description="Rank of the factors of all tasks. None: 64, and 8 on swin-micro."
    )
    task_rank: int | None = Field(default=None, ge=1, description="Rank of the factors of each task. None: 4.")
    plus: bool = Field(default=False, description="MTLoRA+: the layers that merge cells are adapted, and not trained.")
    shared_scale: float = Field(default=4.0, description="Factor of the products of all tasks.")
    task_scale: float = Field(default=4.0, description="Factor of the products of each task.")


class MTLoRA(Method):
    """A Swin whose weights stay as they were pretrained: low-rank factors, norms and decoders are trained alone.

    The network is the authors', under the same keys, for the square inputs that theirs takes; others are padded as
    Swins for segmentation do it. Training is theirs but for the following: augmentation does not rotate, images are
    cropped and padded, not resized, and the losses are those of this harness.
    """

    name: ClassVar[str] = "mtlora"
    summary: ClassVar[str] = "a frozen Swin with low-rank factors of all tasks and of each"
    paper: ClassVar[str | None] = (
        "A. Agiza, M. Neseem, S. Reda. MTLoRA: A Low-Rank Adaptation Approach for Efficient Multi-Task Learning. "
        "CVPR 2024"
    )
    default_backbone: ClassVar[Mapping[Budget, str]] = {"quick": "swin-micro", "full": "swin-t"}
    families: ClassVar[tuple[str, ...]] = ("swin",)
    Options: ClassVar[type[MTLoRAOptions]] = MTLoRAOptions
    options: MTLoRAOptions

    def build(self, problem: Problem) -> MTLoRANet:
        """Return the model, untrained."""
        options = self.options
        shared, own = _RANKS.get(self.backbone, (64, 4))
        ranks = Ranks(
            shared=options.shared_rank or shared,
            task=options.task_rank or own,
            shared_scale=options.shared_scale,
            task_scale=options.task_scale,
            dropout=_DROPOUT,
        )
        encoder = build_backbone(self.backbone, problem.input_size, self.weights)
        assert isinstance(encoder, SwinEncoder)
        if self.backbone not in DECODER_CHANNELS:
            encoder.set_drop_path(_DROP_PATH)
        channels = DECODER_CHANNELS.get(self.backbone, (18, 36, 72, 144))
        return MTLoRANet(problem, encoder, ranks, options.plus, channels)

    def stages(self, problem: Problem, budget: Budget) -> list[Stage]:
        """Return one joint stage over all tasks, which leaves the encoder's matrices as they are.

        ``full`` is the published recipe: AdamW, 5e-4 per 512 images, weight decay 0.05, 300 epochs of batches of 32,
        the first 20 for warm-up, cosine to a hundredth. ``quick`` is ours.
        """
        trainable = self.trainable()
        if budget != "full":
            return [supervised_stage("joint", problem.names, budget, trainable)]
        stage = Stage(
            "joint",
            problem.names,
            iterations=0,
            epochs=_EPOCHS,
            batch_size=_BATCH,
            optimizer=Optimizer("adamw", lr=5e-4 * _BATCH / 512, weight_decay=0.05),
            schedule=Schedule("cosine", warmup_epochs=20, floor=0.01),
            augmentation=Augmentation(scale=(0.75, 1.25), cat_max_ratio=1.0, photometric=False),
            trainable=trainable,
            clip_norm=5.0,
        )
        return [stage]

    def trainable(self) -> tuple[str, ...]:
        """Return the prefixes of the parameters that train: of the encoder, its patches, factors, norms and biases.

        Biases are those of the attention. Layers that merge cells train, but in MTLoRA+ their factors alone.
        """
        prefixes = ["backbone.patch_embed.", "downsampler.", "decoders."]
        for level, depth in enumerate(SWINS[self.backbone].depths):
            stage = f"backbone.layers.{level}"
            prefixes += [f"{stage}.downsample.norm."]
            prefixes += [f"{stage}.downsample.reduction.{'lora_' if self.options.plus else 'weight'}"]
            for block in (f"{stage}.blocks.{number}" for number in range(depth)):
                prefixes += [f"{block}.norm1.", f"{block}.norm2.", f"{block}.attn.relative_position_bias_table"]
                prefixes += [f"{block}.{layer}.lora_" for layer in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")]
        return tuple(prefixes)

    def adapt(self, state: State, model: MultiTaskModel) -> Adapted:
        """Take a checkpoint as it is, but for buffers that follow from the size of the images: those are made."""
        made = {key: value for key, value in model.state_dict().items() if key.endswith(_MADE)}
        rest = {key: value for key, value in state.items() if not key.endswith(_MADE)}
        return Adapted(rest | made)
