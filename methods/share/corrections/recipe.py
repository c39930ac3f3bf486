"""Training recipe: the base, then one stage per sub-task on the frozen base."""

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from harness.backbones.shapes import VITS
from harness.method import Budget, MultiTaskModel, Optimizer, ParameterGroup, Schedule, Stage
from harness.methods.share.corrections.nets import CorrectedNets
from harness.methods.share.corrections.settings import settings_of
from harness.methods.share.corrections.teacher import Pull, Teacher
from harness.methods.share.options import ShareOptions
from harness.methods.share.recipe import base_stage, learning_rate
from harness.training.recipes import baseline_stage


@runtime_checkable
class HasNets(Protocol):
    """A model that trains corrected networks: one, or one per candidate of the base task."""

    def nets(self, base: str) -> CorrectedNets:
        """Return the networks on the base of a task, which train from now on."""


@dataclass(frozen=True)
class Start:
    """Start of a sub-task's stage: norm and own blocks as the trained base's, the head as the teacher's if it has one.

    Attributes:
        base: Task of the base.
        task: The sub-task.
        teacher: Gives the head; None leaves it untrained.
    """

    base: str
    task: str
    teacher: Teacher | None

    def __call__(self, model: MultiTaskModel) -> None:
        """Copy them."""
        assert isinstance(model, HasNets)
        nets = model.nets(self.base)
        nets.correction(self.task).start_as(nets.base)
        if self.teacher is not None:
            self.teacher.give_head(self.task, nets.heads[self.task])


def base_recipe(task: str, backbone: str, budget: Budget) -> Stage:
    """Return the training of the base, that of a single-task network but in ``full``."""
    return base_stage(task, backbone, budget)


def sub_stages(
    base: str, task: str, options: ShareOptions, backbone: str, budget: Budget, teacher: Teacher | None
) -> list[Stage]:
    """Return the one stage of a sub-task, after its teacher's as effort where it has one.

    It is as long as a single-task network's. Called like the latter's, it sees the same images in the same order where
    no images are held out.

    Args:
        base: Task of the base.
        task: The sub-task.
        options: Options of the method.
        backbone: Name of the encoder.
        budget: ``full`` takes the steps of the base and the paper's learning rate of the task.
        teacher: Teaches it; None for nobody.
    """
    trainable = (f"corrections.{task}.", f"heads.{task}.")
    if budget != "full":
        stage = baseline_stage(backbone, task, (task,), budget, trainable)
        # Own blocks start as the base's, so they learn as slowly as an encoder whose start is to be kept.
        slow = [group.lr for group in stage.groups]
        stage = replace(stage, groups=(ParameterGroup((f"corrections.{task}.blocks.",), 2 * min(slow)),))
    else:
        # As many steps as the base, at the paper's rate of the task
        whole = base_recipe(base, backbone, budget)
        rate = learning_rate(task)
        stage = Stage(
            task,
            (task,),
            iterations=whole.iterations,
            batch_size=whole.batch_size,
            optimizer=Optimizer("adamw", lr=rate, weight_decay=1e-6),
            schedule=Schedule("poly", power=0.9),
            trainable=trainable,
            clip_norm=10.0,
        )
    # Pull and head start can be had alone, so that each can be told from the other.
    taught = teacher is not None and options.distil != "head"
    start = Start(base, task, teacher if options.distil != "pull" else None)
    # Images are held out only for a choice between several settings.
    walks = options.accuracy_budget is not None and len(settings_of(options, task, VITS[backbone].depth)) > 1
    stage = replace(stage, prepare=start, terms=Pull(teacher, task) if teacher and taught else None, holds_out=walks)
    return [stage] if teacher is None else [teacher.effort(task), stage]
