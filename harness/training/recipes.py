"""Training recipes that the baselines share."""

from collections.abc import Mapping
from types import MappingProxyType

from harness.backbones import facts
from harness.data.augment import Augmentation
from harness.method import Budget, Optimizer, ParameterGroup, Schedule, Stage
from harness.problem import TaskSpec
from harness.tasks import build_task

_CONVOLUTIONAL = ("resnet", "hrnet")
"""Families whose published networks were trained by the recipe of Multi-Task-Learning-PyTorch."""

QUICK_STEPS, MEDIUM_STEPS = 240, 6000
"""Steps that every task is trained for in the budgets of this project, whatever the method; phases share them."""

QUICK_BATCH, MEDIUM_BATCH = 4, 8
"""Images of each of these steps."""

HEAD_LR, ENCODER_LR = 8e-3, 5e-4
"""Peak learning rates of the quick budget. An encoder that learns at the rate of the heads forgets its start."""

NO_NETWORK: Mapping[str, str] = MappingProxyType({})


def single_network(encoder: str, head: str) -> dict[str, str]:
    """Return the names of `Stage.network` for an encoder with one head, from their prefixes in a method's model."""
    return {encoder: "backbone.", head: "decoder."}


def baseline_stage(
    backbone: str,
    name: str,
    tasks: tuple[str, ...],
    budget: Budget,
    trainable: tuple[str, ...] = ("",),
    network: Mapping[str, str] = NO_NETWORK,
) -> Stage:
    """Return a stage that trains ``tasks`` by the recipe of the field for the family of an encoder.

    Args:
        backbone: Name of the encoder.
        name: Name of the stage.
        tasks: Tasks that are supervised.
        budget: ``quick`` and ``medium`` are the same for all encoders.
        trainable: Prefixes of the parameters that train.
        network: See `Stage.network`; its prefix ``backbone.`` is the encoder, and without it that of the model.
    """
    if budget == "full" and facts(backbone)["family"] in _CONVOLUTIONAL:
        # On ResNet-18, used for PASCAL alone, the published batches are of 12 for a single task and of 6 for several.
        small = 12 if len(tasks) == 1 else 6
        return convolutional_stage(name, tasks, trainable, small if backbone == "resnet18" else 8)
    return supervised_stage(name, tasks, budget, trainable, network)


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


def supervised_stage(
    name: str,
    tasks: tuple[str, ...],
    budget: Budget,
    trainable: tuple[str, ...] = ("",),
    network: Mapping[str, str] = NO_NETWORK,
) -> Stage:
    """Return a stage that trains ``tasks`` on their labels.

    ``full`` is InvPT's recipe (Ye and Xu, ECCV 2022, section 4.1 and the released configuration): Adam, 2e-5,
    weight decay 1e-6, 40 000 iterations, polynomial decay 0.9, six images per step. ``quick`` and ``medium`` are ours,
    tuned on training scenes of the rendered sets (docs/budgets.md): the encoder learns more slowly than what stands on
    it, for its start is to be kept.

    Args:
        name: Name of the stage.
        tasks: Tasks that are supervised.
        budget: See above.
        trainable: Prefixes of the parameters that train.
        network: See `Stage.network`; its prefix of ``backbone.`` is the encoder, and without it that of the model.
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
            network=dict(network),
        )
    quick = budget == "quick"
    encoder = tuple(prefix for prefix, common in network.items() if common == "backbone.") or ("backbone.",)
    return Stage(
        name,
        tasks,
        iterations=QUICK_STEPS if quick else MEDIUM_STEPS,
        batch_size=QUICK_BATCH if quick else MEDIUM_BATCH,
        optimizer=Optimizer("adamw", lr=HEAD_LR if quick else 1e-3, weight_decay=0.05),
        schedule=Schedule("cosine", warmup=20 if quick else 200),
        augmentation=Augmentation.light(),
        clip_norm=5.0,  # a ViT from random weights at these rates diverges without
        trainable=trainable,
        groups=(ParameterGroup(encoder, lr=ENCODER_LR if quick else 1e-4),),
        network=dict(network),
    )


def loss_weight(task: TaskSpec) -> float:
    """Return the field's weight of a task's loss, for auxiliary losses that keep in step with it.

    >>> loss_weight(TaskSpec("normals"))
    10.0
    """
    return build_task(task).weight
