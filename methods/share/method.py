"""The sharing method as a plug-in."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
from torch import Tensor

from harness.backbones import Encoder, build_backbone
from harness.backbones.shapes import VITS
from harness.backbones.vit import ViTEncoder
from harness.counting import MacReport
from harness.errors import UsageError
from harness.method import (
    Accounting,
    ArtifactFormat,
    Budget,
    Calibration,
    Extension,
    Method,
    MultiTaskModel,
    Score,
    Stage,
    write_manifest,
)
from harness.methods.share import accounting, storage
from harness.methods.share.calibration import calibrate
from harness.methods.share.corrections import accounting as corrected
from harness.methods.share.corrections import storage as corrected_storage
from harness.methods.share.corrections.candidates import CandidateNets
from harness.methods.share.corrections.engine import Corrections
from harness.methods.share.corrections.nets import CorrectedNets
from harness.methods.share.delta import Delta, LearnedDelta
from harness.methods.share.encoder import differing_names, named_weights
from harness.methods.share.model import SharedNets
from harness.methods.share.options import ShareOptions
from harness.methods.share.recipe import stages
from harness.methods.share.swin import functional_of
from harness.methods.share.training import TrainedNets
from harness.problem import Problem
from harness.records.calibration import Walked
from harness.records.costs import Sparsity
from harness.weights.artifact import read_manifest

_BENCHED_FRACTIONS = (0.1, 0.2, 0.3, 0.5)
"""Fractions of active tokens that ``harness bench`` shows: above a half gating no longer pays."""


class ShareAccounting(Accounting["Share"]):
    """Costs of sharing: they follow from the image, and from the densities that training leaves."""

    data_dependent: ClassVar[bool] = True

    def untrained(self, problem: Problem) -> SharedNets | CorrectedNets:
        """Return a model whose differences are random, as dense as training leaves them."""
        model = self.method.build(problem)
        if not isinstance(model, TrainedNets):
            return model.current if isinstance(model, CandidateNets) else model
        for task in model.deltas:
            model.learned(task).randomise(self.method.options.density or 1.0, model.countable)
        return model

    def variants(self, given: Collection[str]) -> Sequence[ShareOptions]:
        """Return some fractions of active tokens, unless one was asked for."""
        options = self.method.options
        if "rows" in given or options.mode != "gated" or options.engine == "corrections":
            return [self.method.options]
        return [self.method.options.model_copy(update={"rows": fraction}) for fraction in _BENCHED_FRACTIONS]

    def macs(self, model: MultiTaskModel, images: Tensor) -> MacReport:
        """Count what is executed, and what dense, ideal and clamped runs come to."""
        if isinstance(model, CorrectedNets):
            return corrected.report(model, images)
        assert isinstance(model, SharedNets)
        return accounting.report(model, images)

    def layer_statistics(self, model: MultiTaskModel, images: Tensor) -> Mapping[str, pd.DataFrame]:
        """Return densities and fractions of active tokens per layer and sub-task."""
        if isinstance(model, CorrectedNets):
            return corrected.layer_statistics(model) if len(model.corrections) else {}
        assert isinstance(model, SharedNets)
        return accounting.layer_statistics(model, images) if len(model.deltas) else {}

    def sparsity(self, model: MultiTaskModel, images: Tensor) -> Mapping[str, Sparsity]:
        """Return the density of each sub-task's difference and the tokens it computes; the base has all of both."""
        if isinstance(model, CorrectedNets):
            return corrected.sparsity(model)
        assert isinstance(model, SharedNets)
        return accounting.sparsity(model, images)

    def bytes_per_part(self, model: MultiTaskModel, folder: Path) -> Mapping[str, int]:
        """Return bytes by part: the base's file, and each task's files split into difference and head."""
        if isinstance(model, CorrectedNets):
            return corrected_storage.bytes_by_part(folder, model.problem.names)
        return storage.bytes_by_part(folder, model.problem.names)

    def describe(self, folder: Path) -> dict[str, Any]:
        """Return densities per layer, and bytes per task and encoding."""
        names = read_manifest(folder).problem().names
        if self.method.engine is not None:
            return corrected_storage.describe(folder, names)
        return storage.describe(folder, names)


class Share(Method, ArtifactFormat, Extension, Calibration):
    """One base task in full; every sub-task stores and computes only where it differs from it."""

    name: ClassVar[str] = "share"
    summary: ClassVar[str] = "one base network; sub-tasks store sparse weight differences and compute changed rows"
    paper: ClassVar[str | None] = (
        "S. Shoouri, M. Yang, Z. Fan, H.-S. Kim. Efficient Computation Sharing for Multi-Task Visual Scene "
        "Understanding. ICCV 2023"
    )
    families: ClassVar[tuple[str, ...]] = ("vit", "swin")
    Options: ClassVar[type[ShareOptions]] = ShareOptions
    options: ShareOptions
    Accounting: ClassVar[type[ShareAccounting]] = ShareAccounting

    @property
    def engine(self) -> Corrections | None:
        """The engine that trains and stores something else than sparse differences; None for those that do not."""
        if self.options.engine != "corrections":
            return None
        if self.backbone not in VITS:
            raise UsageError(
                f"method share: engine=corrections runs on vision transformers, not on {self.backbone}; "
                f"use --set engine=paper or tokens"
            )
        return Corrections(self.options, self.backbone, self._vit)

    def build(self, problem: Problem) -> TrainedNets | CorrectedNets | CandidateNets:
        """Return the base, and a sub-task without any difference for each of the other tasks."""
        if self.engine is not None:
            return self.engine.build(problem)
        self._check(problem)
        base = self._encoder(problem)
        subs = [task for task in problem.names if task != self.options.base_task]
        return TrainedNets(problem, base, {task: self._untrained(base, problem) for task in subs}, self.options)

    def stages(self, problem: Problem, budget: Budget) -> list[Stage]:
        """Return the base's training, then four phases per sub-task; see `harness.methods.share.recipe`.

        The engine ``corrections`` has one stage per sub-task: `harness.methods.share.corrections.recipe`.
        """
        if self.engine is not None:
            return self.engine.stages(problem, budget)
        self._check(problem)
        base_task, gated = self.options.base_task, self.options.mode == "gated"
        return stages(problem.names, base_task, self.backbone, budget, gated)

    def calibrate(self, model: MultiTaskModel, score: Score) -> list[Walked] | None:
        """Choose the gates of the sub-tasks that were trained, or their static settings."""
        if self.engine is not None:
            return self.engine.calibrate(model, score)
        assert isinstance(model, SharedNets)
        if self.options.mode == "gated" and self.options.accuracy_budget is not None:
            calibrate(model, score, self.options.accuracy_budget)
        return None

    def save(self, model: MultiTaskModel, folder: Path) -> None:
        """Write the base once, and two files per task."""
        if self.engine is not None:
            base = self.engine.save(model, folder)
            options = self.options.model_copy(update={"base_task": base})  # the one that was chosen
            write_manifest(type(self)(options, self.backbone), Problem((), model.problem.input_size), folder)
            return
        assert isinstance(model, SharedNets)
        storage.save_base(model.base, folder)
        for task in model.problem.names:
            storage.save_task(model, task, folder)
        write_manifest(self, Problem((), model.problem.input_size), folder)

    def load(self, folder: Path, tasks: Sequence[str] | None = None) -> SharedNets | CorrectedNets:
        """Return the model of an artifact; only the files of the base and of ``tasks`` are read."""
        problem = read_manifest(folder).problem()
        return self._assemble(folder, problem if tasks is None else problem.only(tasks), added=())

    def extend(self, folder: Path, problem: Problem) -> SharedNets | CorrectedNets:
        """Return the model of an artifact with untrained sub-tasks added."""
        held = read_manifest(folder).problem().names
        return self._assemble(folder, problem, added=[task for task in problem.names if task not in held])

    def _assemble(self, folder: Path, problem: Problem, added: Sequence[str]) -> SharedNets | CorrectedNets:
        """Build the model of an artifact, tasks in ``added`` untrained."""
        # 1. The base; a start of weights would be fetched only to be overwritten.
        fresh = type(self)(self.options, self.backbone)
        if fresh.engine is not None:
            return fresh.engine.assemble(folder, problem, added)
        base = fresh._encoder(problem)
        storage.load_base(base, folder)
        # 2. Sub-tasks: stored differences, and untrained ones of the tasks that are added.
        loaded = {
            task: storage.load_task(task, folder, base, is_base=task == self.options.base_task)
            for task in problem.names
            if task not in added
        }
        deltas: dict[str, Delta] = {task: part.delta for task, part in loaded.items() if part.delta is not None}
        deltas |= {task: self._untrained(base, problem) for task in added}
        kind = TrainedNets if added else SharedNets
        model = kind(problem, base, deltas, self.options)
        # 3. Heads and gates of the stored tasks.
        for task, part in loaded.items():
            part.give_to(model, task)
        if self.options.engine == "tokens" and read_manifest(folder).options.get("engine", "paper") == "paper":
            for task in model.calibrated:
                model.nest_gates(task)
        return model

    def _encoder(self, problem: Problem) -> Encoder:
        return build_backbone(self.backbone, problem.input_size, self.weights)

    def _vit(self, problem: Problem) -> ViTEncoder:
        encoder = self._encoder(problem)
        assert isinstance(encoder, ViTEncoder)
        return encoder

    def _untrained(self, base: Encoder, problem: Problem) -> LearnedDelta:
        functional, weights = functional_of(base, problem.input_size), named_weights(base)
        names = differing_names(
            functional, self.options.shared_blocks, shared_embedding=self.options.engine == "tokens"
        )
        return LearnedDelta({name: weights[name] for name in names}, self.options.granularity, self.options.values)

    def _check(self, problem: Problem) -> None:
        if self.options.base_task == "auto":
            raise UsageError("--set base_task=auto: needs engine=corrections; name the base task")
        if self.options.base_task not in problem.names:
            raise UsageError(
                f"--set base_task={self.options.base_task}: is none of the tasks {', '.join(problem.names)}; "
                f"add -t {self.options.base_task}, or choose another base"
            )
