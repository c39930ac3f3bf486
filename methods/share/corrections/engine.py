"""The engine ``corrections`` of the sharing method: build, recipe, calibration, artifact and extension."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.backbones.vit import ViTEncoder
from harness.errors import UsageError
from harness.method import Budget, MultiTaskModel, Score, Stage
from harness.methods.share.corrections import storage
from harness.methods.share.corrections.calibration import calibrate
from harness.methods.share.corrections.candidates import CandidateNets, choose
from harness.methods.share.corrections.nets import CorrectedNets
from harness.methods.share.corrections.parts import Correction, untrained
from harness.methods.share.corrections.recipe import base_recipe, sub_stages
from harness.methods.share.corrections.teacher import teacher_of
from harness.methods.share.options import ShareOptions
from harness.methods.share.storage import load_base, save_base
from harness.problem import Problem
from harness.records.calibration import Walked
from harness.weights.artifact import read_manifest

AUTO = "auto"
"""Base task that held-out training images choose."""


@dataclass(frozen=True)
class Corrections:
    """The engine, set up.

    Attributes:
        options: Options of the method.
        backbone: Name of the encoder.
        encoder: Builds it for a problem.
    """

    options: ShareOptions
    backbone: str
    encoder: Callable[[Problem], ViTEncoder]

    def build(self, problem: Problem) -> CorrectedNets | CandidateNets:
        """Return the base and untrained corrections; one of each for every task where the base is to be chosen."""
        self._check(problem)
        if self.options.base_task != AUTO:
            return self._nets(problem, self.encoder(problem), self.options.base_task, {})
        bases = {task: self.encoder(problem) for task in problem.names}
        return CandidateNets(problem, {task: self._nets(problem, base, task, {}) for task, base in bases.items()})

    def stages(self, problem: Problem, budget: Budget) -> list[Stage]:
        """Return the base's training and one stage per sub-task, all of them on every base where it is to be chosen."""
        self._check(problem)
        options, backbone = self.options, self.backbone
        # 1. Who teaches whom.
        teacher = teacher_of(options.teacher, options.taught, backbone, problem)
        taught = () if teacher is None else tuple(options.taught or teacher.tasks)
        # 2. Per base its own training, then one stage per sub-task.
        bases = problem.names if options.base_task == AUTO else (options.base_task,)
        recipe: list[Stage] = []
        for base in bases:
            subs: list[Stage] = []
            for task in problem.names:
                if task != base:
                    subs += sub_stages(base, task, options, backbone, budget, teacher if task in taught else None)
            first = base_recipe(base, backbone, budget)
            whole = [first, *(replace(stage, after=(first.name,)) for stage in subs)]
            recipe += whole if options.base_task != AUTO else [_candidate(stage, base) for stage in whole]
        return recipe

    def calibrate(self, model: MultiTaskModel, score: Score) -> list[Walked]:
        """Choose the base where it is to be chosen, then the setting of every sub-task that was trained.

        Returns:
            The settings that were looked at, task by task from cheap to dear.
        """
        if isinstance(model, CandidateNets):
            choose(model, score)
            model = model.current
        assert isinstance(model, CorrectedNets)
        if self.options.accuracy_budget is not None:
            calibrate(model, score, self.options.accuracy_budget)
        return [
            Walked(
                task=task,
                title=step.setting.title,
                macs=step.macs,
                loss=step.loss,
                chosen=step.setting == model.settings[task],
            )
            for task, steps in model.calibrated.items()
            for step in steps
        ]

    def save(self, model: MultiTaskModel, folder: Path) -> str:
        """Write the base once, and two files per task; return the base task."""
        base = self.options.base_task
        if isinstance(model, CandidateNets):
            base, model = model.chosen, model.current
        assert isinstance(model, CorrectedNets)
        save_base(model.base, folder)
        for task in model.problem.names:
            storage.save_task(model, task, folder)
        if base == AUTO:  # loaded from an artifact, whose base was chosen before
            base = next((task for task in model.problem.names if task not in model.corrections), base)
        return base

    def assemble(self, folder: Path, problem: Problem, added: Sequence[str]) -> CorrectedNets:
        """Return the model of an artifact, tasks in ``added`` untrained.

        Raises:
            UsageError: a file is missing or damaged, or is of another encoder or engine.
        """
        self._check(problem, loaded=True)
        # 1. The base; which task it serves stands in the manifest where it was chosen.
        base_task = self.options.base_task
        if base_task == AUTO:
            base_task = str(read_manifest(folder).options.get("base_task"))
        base = self.encoder(problem)
        load_base(base, folder)
        # 2. The stored sub-tasks, in their own sizes, and untrained ones of the tasks that are added.
        loaded = {
            task: storage.load_task(task, folder, base, is_base=task == base_task)
            for task in problem.names
            if task not in added
        }
        held = {task: part.correction for task, part in loaded.items() if part.correction is not None}
        nets = self._nets(problem, base, base_task, held)
        # 3. Heads and settings of the stored tasks.
        for task, part in loaded.items():
            part.give_to(nets, task)
        return nets

    def _nets(
        self, problem: Problem, base: ViTEncoder, base_task: str, held: Mapping[str, Correction]
    ) -> CorrectedNets:
        """Return networks with the corrections that are at hand, and untrained ones of the other sub-tasks."""
        corrections = {
            task.name: held[task.name] if task.name in held else untrained(task, base, self.options)
            for task in problem
            if task.name != base_task
        }
        return CorrectedNets(problem, base, corrections, self.options)

    def _check(self, problem: Problem, loaded: bool = False) -> None:
        options = self.options
        if options.mode != "gated":
            raise UsageError(
                f"--set mode={options.mode}: engine=corrections compares nothing with the base; leave it out"
            )
        if options.base_task not in (*problem.names, AUTO) and not loaded:
            raise UsageError(
                f"--set base_task={options.base_task}: is none of the tasks {', '.join(problem.names)}; "
                f"add -t {options.base_task}, or choose another base"
            )


def _candidate(stage: Stage, base: str) -> Stage:
    """Return a stage of the networks on one of several bases."""
    prefix = f"candidates.{base}."
    return replace(
        stage,
        name=stage.name if stage.name == base else f"{stage.name} on {base}",
        trainable=tuple(f"{prefix}{name}" for name in stage.trainable),
        groups=tuple(
            replace(group, prefixes=tuple(f"{prefix}{name}" for name in group.prefixes)) for group in stage.groups
        ),
        network={},  # other images are drawn than for a network of its own
        after=None,  # all of them set which base the model has
        # The same images are held out of all, so that none decides on what it has seen.
        holds_out=stage.elsewhere is None,
        prepare=stage.prepare if stage.elsewhere else Turn(base, stage.prepare),
    )


@dataclass(frozen=True)
class Turn:
    """Preparation of a stage that trains the networks on one of several bases.

    Attributes:
        base: Task of the base.
        prepare: What the stage does beside.
    """

    base: str
    prepare: Callable[[MultiTaskModel], None] | None

    def __call__(self, model: MultiTaskModel) -> None:
        """Make these the networks in training."""
        assert isinstance(model, CandidateNets)
        model.nets(self.base)
        if self.prepare is not None:
            self.prepare(model)
