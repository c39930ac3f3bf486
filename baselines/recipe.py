"""The training recipe the baselines share."""

from harness.data.augment import Augmentation
from harness.method import Budget, Optimizer, Schedule, Stage


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
        iterations=340,
        batch_size=4,
        optimizer=Optimizer("adamw", lr=4e-3, weight_decay=0.05),
        schedule=Schedule("cosine", warmup=20),
        augmentation=Augmentation.light(),
        clip_norm=5.0,
        trainable=trainable,
    )
