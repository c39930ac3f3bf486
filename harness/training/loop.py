"""Training loop: the stages of a method, deterministic and resumable."""

import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.compute import Compute, seed_everything
from harness.counting import MacCounter
from harness.data.augment import TrainTransform
from harness.data.cache import Scenes
from harness.data.loading import train_batches
from harness.data.sample import Batch
from harness.errors import MethodError
from harness.model import MultiTaskModel, TrainingOutput, check_predictions
from harness.progress import RunProgress
from harness.recipe import NO_AIDS, Aids, Stage, held_out
from harness.records import StageInfo
from harness.tasks.base import Task
from harness.training import parallel, termination
from harness.training.aids import (
    Average,
    Backward,
    WholeBatch,
    check_aids,
    parts_of,
)
from harness.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from harness.training.losses import check_parts, task_losses
from harness.training.notes import Notes
from harness.training.optim import build_optimizer, lr_factor
from harness.training.stages import StageStore
from harness.training.synchronised import Rows, whole_batch

COUNTED_STEPS = 4
"""Steps of a stage whose MACs are counted, spread evenly: sub-tasks that draw their sparsity vary from step to step."""

CHECK_EVERY = 20
"""Iterations between two checks of the loss for NaN and infinity. Each check waits for the device."""

SAVING_FRACTION = 0.05
"""Largest fraction of the time that checkpoints take."""


@dataclass(frozen=True)
class TrainingSetup:
    """Data, device and files of a training, without the model and its stages.

    Attributes:
        scenes: Training scenes.
        tasks: Task objects by name.
        transform: Makes the training transform of a stage.
        compute: Device of the model, and the arithmetic of the forward pass.
        seed: Source of all randomness.
        workers: Loader processes.
        checkpoint: File to resume from and to save to.
        save_every: Seconds between two checkpoints.
        progress: Takes the progress bars.
        store: Stages that other runs have trained already; None to train all.
        aids: What a command adds to every recipe.
    """

    scenes: Scenes
    tasks: Mapping[str, Task]
    transform: Callable[[Stage], TrainTransform]
    compute: Compute
    seed: int
    workers: int
    checkpoint: Path
    save_every: float
    progress: RunProgress
    store: StageStore | None = None
    aids: Aids = NO_AIDS


def train(model: MultiTaskModel, stages: Sequence[Stage], setup: TrainingSetup) -> list[StageInfo]:
    """Train ``model`` in place through all stages, going on from the checkpoint when there is one.

    Every random draw is a function of (seed, name of the stage, iteration), so that a resumed run repeats exactly what
    an undisturbed run does (bit for bit on a CPU with the same number of threads), and a stage does the same whatever
    stages stand before it.

    Several processes have a part of every batch each, and take the step that one process would take.

    Raises:
        MethodError: the loss is no longer finite, or a task's loss is not made for several processes.
        UsageError: there are more processes than images in a batch.
    """
    check_parts(stages, setup.tasks)
    check_aids(setup.aids, stages, setup.compute.precision == "fp16")
    kept = load_checkpoint(setup.checkpoint)
    logs: list[StageInfo] = []
    for index, stage in enumerate(stages):
        if stage.elsewhere is not None:  # counted, not run
            logs.append(_described(stage, None, stage.elsewhere.macs, reused=True))
            continue
        # 1. Stages that were finished before the interruption.
        if kept is not None and index < kept.stage:
            macs, reused = _at(kept.macs, index), index in kept.reused
            logs.append(_described(stage, _at(kept.losses, index), macs, reused))
            continue
        # 2. A stage that is to begin and that another run has trained already.
        begins = kept is None or index != kept.stage
        key = kept.key if kept is not None and not begins else None
        if setup.store is not None and begins:
            key = setup.store.key(stage, model)
        if setup.store is not None and begins and key and (done := setup.store.load(key, stage, model)) is not None:
            logs.append(done)
            continue
        # 3. The interrupted stage, whose model has been prepared already, and those after it.
        if stage.prepare is not None and begins:
            stage.prepare(model)
        later = sum(one.iterations * one.batch_size for one in stages[index + 1 :])
        logs.append(_StageRun(model, stage, index, setup, logs, key, later).run(None if begins else kept))
        if setup.store is not None and key:
            setup.store.keep(key, stage, model, logs[-1])
    model.requires_grad_(True)  # the last stage may have frozen parameters
    return logs


def _described(stage: Stage, loss: float | None, macs: int | None, reused: bool = False) -> StageInfo:
    return StageInfo(
        name=stage.name,
        iterations=stage.iterations,
        final_loss=loss,
        tasks=list(stage.tasks),
        batch_size=stage.batch_size,
        macs=macs,
        reused=reused,
    )


def _at(values: Sequence[Any], index: int) -> Any:
    """Return a value of a list that checkpoints of earlier versions have shorter, or None."""
    return values[index] if index < len(values) else None


class _StageRun:
    """One stage with its optimiser.

    Args:
        model: The model, on the device of the set-up.
        stage: The stage.
        index: Its place in the recipe.
        setup: Data, device and files.
        before: The stages before it, for the checkpoint.
        key: Under which its network will be kept for other runs, for the checkpoint; None for not at all.
        later: Images that the stages after it train on.
    """

    def __init__(
        self,
        model: MultiTaskModel,
        stage: Stage,
        index: int,
        setup: TrainingSetup,
        before: Sequence[StageInfo],
        key: str | None = None,
        later: int = 0,
    ) -> None:
        self.model, self.stage, self.index, self.setup, self.key = model, stage, index, setup, key
        self.before = list(before)
        self.loss: float | None = None
        self.counts: list[int | None] = []  # MACs of the steps that were counted
        self.optimizer = build_optimizer(model, stage)
        aids = setup.aids
        self.average = None if aids.ema is None else Average(model, aids.ema)
        # Gradients of fp16 vanish below 6e-8: losses are scaled up before the backward pass, gradients down after it.
        self.scaler = torch.amp.GradScaler(setup.compute.device.type, enabled=setup.compute.precision == "fp16")
        self.backward = Backward(model, stage, aids.balance, self.optimizer, self.scaler, setup.compute.device)
        self.saved_at, self.save_seconds = time.monotonic(), 0.0
        self.rows = Rows.of(stage.batch_size)
        self.stopping = False  # whether any process was asked to end
        self.notes = Notes(setup.progress.events, stage, setup.compute.device, later)
        self.losses: dict[str, Tensor] = {}  # of the last step, weighted

    def run(self, resumed: Checkpoint | None) -> StageInfo:
        stage, setup = self.stage, self.setup
        start = 0
        if resumed is not None:
            self._restore(resumed)
            start = resumed.iteration
        self.model.train()
        with (
            termination.deferred() as signals,  # they wait for the end of a step, where the state can be saved
            setup.progress.bar(f"train {stage.name}", stage.iterations, done=start, unit="it") as report,
            whole_batch(self.model, self.rows),
        ):
            for iteration, batch in enumerate(self._batches(start), start):
                seed_everything(setup.seed, stage.name, iteration)  # for dropout and the like
                step = self._counted if self._counts(iteration) else self._step
                step_loss = step(batch, iteration, signals)
                looked = iteration % CHECK_EVERY == 0 or iteration == stage.iterations - 1
                if looked:
                    self.loss = self._look(step_loss, iteration)
                self.notes.write(iteration, looked, self.loss, self.losses, self.optimizer.param_groups[0]["lr"])
                report(iteration + 1)
                # A slow disk takes no more than its fraction of the time, whatever was asked for.
                due = max(setup.save_every, self.save_seconds / SAVING_FRACTION if setup.save_every else 0.0)
                stopping = bool(signals) if parallel.world() == 1 else self.stopping  # all processes after one step
                if stopping or time.monotonic() - self.saved_at > due:
                    signals.saving()
                    self._save(self.index, iteration + 1)
                if stopping:
                    signals.check(others=True)
        self.optimizer.zero_grad(set_to_none=True)  # gradients are as large as the model
        if self.average is not None:
            self.average.give_to(self.model)
        self._save(self.index, stage.iterations)
        return _described(stage, self.loss, self._macs())

    def _counts(self, iteration: int) -> bool:
        """Return whether the MACs of a step are counted: the first of every quarter of the stage."""
        total = self.stage.iterations
        return iteration * COUNTED_STEPS // total != (iteration - 1) * COUNTED_STEPS // total

    def _counted(self, batch: Batch, iteration: int, signals: termination.Signals) -> Tensor:
        """Take one step and count its MACs, forward and backward, of the whole batch."""
        with MacCounter(backward=True) as counter:
            loss = self._step(batch, iteration, signals)
        whole = round(counter.macs.total() / self.rows.fraction)
        self.counts.append(None if counter.unsupported else whole)
        return loss

    def _macs(self) -> int | None:
        """Return the MACs of the whole stage from the steps that were counted; None where one could not be."""
        known = [count for count in self.counts if count is not None]
        if not known or len(known) < len(self.counts):
            return None
        return round(sum(known) / len(known) * self.stage.iterations)

    def _batches(self, start: int) -> Iterator[Batch]:
        stage, setup = self.stage, self.setup
        seed = zlib.crc32(f"{setup.seed}/{stage.name}".encode())
        return train_batches(
            setup.scenes,
            setup.transform(stage),
            stage.batch_size,
            seed=seed,
            start=start,
            stop=stage.iterations,
            workers=setup.workers,
            rows=range(self.rows.first, self.rows.stop),
            skip=held_out(len(setup.scenes)) if stage.holds_out else 0,
        )

    def _step(self, batch: Batch, iteration: int, signals: termination.Signals) -> Tensor:
        """Take one step of the optimiser; return the loss, detached."""
        stage, compute = self.stage, self.setup.compute
        # 1. Learning rate of this iteration.
        factor = lr_factor(stage.schedule, iteration, stage.iterations)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        # 2. Forward and backward passes, of the batch or of its parts one after the other.
        batch = batch.to(compute.device)
        parts = parts_of(batch, self.setup.aids.accumulate)
        whole = WholeBatch(parts, self.setup.tasks, self.model.problem, stage.tasks) if len(parts) > 1 else None
        self.optimizer.zero_grad(set_to_none=True)
        self.losses = {}
        for part in parts:
            losses = self._losses(part, whole, len(part.ids) / len(batch.ids))
            for name, value in losses.items():
                self.losses[name] = self.losses.get(name, 0.0) + value.detach()
            self.backward(losses)
        total = torch.stack(list(self.losses.values())).sum()
        # 3. Step; the norm that is clipped is that of unscaled gradients.
        self.stopping = parallel.average_gradients(self.model.parameters(), bool(signals))
        if stage.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), stage.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update(self.model, iteration)
        return total

    def _losses(self, batch: Batch, whole: WholeBatch | None, fraction: float) -> dict[str, Tensor]:
        """Return the weighted losses of a batch, or of a part that is a fraction of it."""
        stage, compute = self.stage, self.setup.compute
        # 1. Forward pass: task to raw map [B, C, H, W].
        with compute.autocast():
            output = self.model.forward_train(batch.images, stage.tasks)
        if not isinstance(output, TrainingOutput):
            raise MethodError(f"forward_train must return a TrainingOutput, not {type(output).__name__}")
        check_predictions(output.predictions, batch.images, self.model.problem, stage.tasks)
        # 2. Losses in float32: of the tasks, of intermediate predictions, and auxiliary ones.
        losses = self._weighed(task_losses(output.predictions, batch, self.setup.tasks, whole))
        for number, predictions in enumerate(output.intermediate):
            extra = self._weighed(task_losses(predictions, batch, self.setup.tasks, whole))
            losses |= {f"intermediate{number}/{name}": value for name, value in extra.items()}
        if stage.terms is not None:
            terms = stage.terms(self.model, batch, output)
            if parallel.world() > 1:  # means over the images of this process, or of no image at all
                terms = {name: parallel.summed(self.rows.fraction * value) for name, value in terms.items()}
            losses |= {name: fraction * value for name, value in terms.items()} if fraction < 1 else terms
        return losses

    def _weighed(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if self.stage.weigh is not None:
            return dict(self.stage.weigh(self.model, losses))
        return {name: self.setup.tasks[name].weight * loss for name, loss in losses.items()}

    def _look(self, loss: Tensor, iteration: int) -> float:
        value = float(loss)
        if value != value or abs(value) == float("inf"):
            place = f"stage {self.stage.name}: the loss is {value} at iteration {iteration}"
            raise MethodError(f"{place}; lower the learning rate, or use --precision fp32")
        return value

    def _save(self, stage: int, iteration: int) -> None:
        if not parallel.leading():  # all have the same state
            return
        start = time.monotonic()
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            **({} if self.average is None else {"average": self.average.values}),
            "backward": self.backward.state(),
        }
        content = Checkpoint(
            stage,
            iteration,
            state,
            losses=[*(log.final_loss for log in self.before), self.loss],
            macs=[log.macs for log in self.before],
            counts=self.counts,
            reused=[index for index, log in enumerate(self.before) if log.reused],
            key=self.key,
        )
        save_checkpoint(self.setup.checkpoint, content)
        self.saved_at = time.monotonic()
        self.save_seconds = self.saved_at - start

    def _restore(self, checkpoint: Checkpoint) -> None:
        self.model.load_state_dict(checkpoint.state["model"])
        self.optimizer.load_state_dict(checkpoint.state["optimizer"])
        self.scaler.load_state_dict(checkpoint.state["scaler"])
        if self.average is not None:
            for name, value in checkpoint.state["average"].items():
                self.average.values[name].copy_(value)
        self.backward.restore(checkpoint.state.get("backward", {}))
        checkpoint.state.clear()  # it is not needed again, and is as large as the model and its optimiser
        self.loss = _at(checkpoint.losses, self.index)
        self.counts = list(checkpoint.counts)
