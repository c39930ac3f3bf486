"""Training recipes that the baselines share."""

from harness.backbones import facts
from harness.data.augment import Augmentation
from harness.method import Budget, Optimizer, Schedule, Stage

_CONVOLUTIONAL = ("resnet", "hrnet")
"""Families whose published networks were trained by the recipe of Multi-Task-Learning-PyTorch."""


def baseline_stage(
    backbone: str, name: str, tasks: tuple[str, ...], budget: Budget, trainable: tuple[str, ...] = ("",)
) -> Stage:
    """Return a stage that trains ``tasks`` by the recipe of the field for the family of an encoder.

    Args:
        backbone: Name of the encoder.
        name: Name of the stage.
        tasks: Tasks that are supervised.
        budget: ``quick`` is the same for all encoders.
        trainable: Prefixes of the parameters that train.
    """
    if budget == "full" and facts(backbone)["family"] in _CONVOLUTIONAL:
        # On ResNet-18, used for PASCAL alone, the published batches are of 12 for a single task and of 6 for several.
        small = 12 if len(tasks) == 1 else 6
        return convolutional_stage(name, tasks, trainable, small if backbone == "resnet18" else 8)
    return supervised_stage(name, tasks, budget, trainable)


def convolutional_stage(
    name: str, tasks: tuple[str, ...], trainable: tuple[str, ...] = ("",), batch_size: int = 8
) -> Stage:
    """Return a stage with the recipe of Multi-Task-Learning-PyTorch (Vandenhende et al., TPAMI 2021).

    Adam, 1e-4, weight decay 1e-4, 100 epochs, polynomial decay 0.9 once per epoch. Batches are of 8; on ResNet-18,
    whose published recipe is PASCAL's, of 12 for a single task and of 6 for several. SGD for single tasks of PASCAL on
    HRNet is not followed. Augmentation, input geometry and losses are those of this harness: images are cropped and
    padded, not resized, ignored pixels count in no loss, and the loss of normals is divided by pixels, not by their
    components, so that it weighs three times as much. Biases, norms and other vectors do not decay.
    """
    return Stage(
        name,
        tasks,
        iterations=0,  # from the epochs, once the number of training images is known
        epochs=100,
        batch_size=batch_size,
        optimizer=Optimizer("adam", lr=1e-4, weight_decay=1e-4),
        schedule=Schedule("poly", power=0.9, steps=100),
        trainable=trainable,
    )


def supervised_stage(name: str, tasks: tuple[str, ...], budget: Budget, trainable: tuple[str, ...] = ("",)) -> Stage:
    """Return a stage that trains ``tasks`` on their labels.

    ``full`` is InvPT's recipe (Ye and Xu, ECCV 2022, section 4.1 and the released configuration): Adam, 2e-5,
    weight decay 1e-6, 40 000 iterations, polynomial decay 0.9, six images per step. ``quick`` is ours: about a
    minute on two CPU cores with ``vit-micro`` on quarter-size images, from random weights.
    """
    if budget == "full":
        return Stage(
            name,
            tasks,
            iterations=40_000,
            batch_size=6,
            optimizer=Optimizer("adam", lr=2e-5, weight_decay=1e-6),
            schedule=Schedule("poly", power=0.9),
            trainable=trainable,
        )
    return Stage(
        name,
        tasks,
        iterations=340,  # a minute on two cores
        batch_size=4,
        optimizer=Optimizer("adamw", lr=4e-3, weight_decay=0.05),
        schedule=Schedule("cosine", warmup=20),
        augmentation=Augmentation.light(),
        clip_norm=5.0,  # a ViT from random weights at this learning rate diverges without
        trainable=trainable,
    )
