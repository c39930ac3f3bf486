"""Training loop: the stages of a method, deterministic and resumable."""

import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from harness.compute import Compute, seed_everything
from harness.data.augment import TrainTransform
from harness.data.cache import Scenes
from harness.data.loading import train_batches
from harness.data.sample import Batch
from harness.errors import MethodError
from harness.model import MultiTaskModel, TrainingOutput, check_predictions
from harness.progress import RunProgress
from harness.recipe import Stage
from harness.records import StageInfo
from harness.tasks.base import Task
from harness.training import termination
from harness.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from harness.training.optim import build_optimizer, lr_factor

CHECK_EVERY = 20
"""Iterations between two checks of the loss for NaN and infinity. Each check waits for the device."""


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


def train(model: MultiTaskModel, stages: Sequence[Stage], setup: TrainingSetup) -> list[StageInfo]:
    """Train ``model`` in place through all stages, going on from the checkpoint when there is one.

    Every random draw is a function of (seed, name of the stage, iteration), so that a resumed run repeats exactly what
    an undisturbed run does (bit for bit on a CPU with the same number of threads), and a stage does the same whatever
    stages stand before it.

    Raises:
        MethodError: the loss is no longer finite.
    """
    kept = load_checkpoint(setup.checkpoint)
    losses = [] if kept is None else kept.losses
    logs: list[StageInfo] = []
    for index, stage in enumerate(stages):
        # 1. Stages that were finished before the interruption.
        if kept is not None and index < kept.stage:
            loss = losses[index] if index < len(losses) else None
            logs.append(StageInfo(name=stage.name, iterations=stage.iterations, final_loss=loss))
            continue
        # 2. The interrupted stage, whose model has been prepared already, and those after it.
        resumed = kept if kept is not None and index == kept.stage else None
        if stage.prepare is not None and resumed is None:
            stage.prepare(model)
        before = [log.final_loss for log in logs]
        logs.append(_StageRun(model, stage, index, setup, before).run(resumed))
    model.requires_grad_(True)  # the last stage may have frozen parameters
    return logs


class _StageRun:
    """One stage with its optimiser.

    Args:
        model: The model, on the device of the set-up.
        stage: The stage.
        index: Its place in the recipe.
        setup: Data, device and files.
        before: Final losses of the stages before it, for the checkpoint.
    """

    def __init__(
        self, model: MultiTaskModel, stage: Stage, index: int, setup: TrainingSetup, before: Sequence[float | None]
    ) -> None:
        self.model, self.stage, self.index, self.setup = model, stage, index, setup
        self.before = list(before)
        self.loss: float | None = None
        self.optimizer = build_optimizer(model, stage)
        # Gradients of fp16 vanish below 6e-8: losses are scaled up before the backward pass, gradients down after it.
        self.scaler = torch.amp.GradScaler(setup.compute.device.type, enabled=setup.compute.precision == "fp16")
        self.saved_at = time.monotonic()

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
        ):
            for iteration, batch in enumerate(self._batches(start), start):
                seed_everything(setup.seed, stage.name, iteration)  # for dropout and the like
                step_loss = self._step(batch, iteration)
                if iteration % CHECK_EVERY == 0 or iteration == stage.iterations - 1:
                    self.loss = self._look(step_loss, iteration)
                report(iteration + 1)
                if signals or time.monotonic() - self.saved_at > setup.save_every:
                    signals.saving()
                    self._save(self.index, iteration + 1)
                signals.check()
        self.optimizer.zero_grad(set_to_none=True)  # gradients are as large as the model
        self._save(self.index, stage.iterations)
        return StageInfo(name=stage.name, iterations=stage.iterations, final_loss=self.loss)

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
        )

    def _step(self, batch: Batch, iteration: int) -> Tensor:
        """Take one step of the optimiser; return the loss, detached."""
        stage, compute = self.stage, self.setup.compute
        # 1. Learning rate of this iteration.
        factor = lr_factor(stage.schedule, iteration, stage.iterations)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        # 2. Forward pass: task to raw map [B, C, H, W].
        batch = batch.to(compute.device)
        with compute.autocast():
            output = self.model.forward_train(batch.images, stage.tasks)
        if not isinstance(output, TrainingOutput):
            raise MethodError(f"forward_train must return a TrainingOutput, not {type(output).__name__}")
        check_predictions(output.predictions, batch.images, self.model.problem, stage.tasks)
        # 3. Losses in float32: of the tasks, of intermediate predictions, and auxiliary ones.
        losses = self._weighed(task_losses(output.predictions, batch, self.setup.tasks))
        for number, predictions in enumerate(output.intermediate):
            extra = self._weighed(task_losses(predictions, batch, self.setup.tasks))
            losses |= {f"intermediate{number}/{name}": value for name, value in extra.items()}
        if stage.terms is not None:
            losses |= stage.terms(self.model, batch, output)
        total = torch.stack(list(losses.values())).sum()
        # 4. Backward pass and step; the norm that is clipped is that of unscaled gradients.
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(self.scaler.scale(total))
        if stage.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), stage.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return total.detach()

    def _weighed(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if self.stage.weigh is not None:
            return dict(self.stage.weigh(self.model, losses))
        return {name: self.setup.tasks[name].weight * loss for name, loss in losses.items()}

    def _look(self, loss: Tensor, iteration: int) -> float:
        value = float(loss)
        if value != value or abs(value) == float("inf"):
            raise MethodError(
                f"stage {self.stage.name}: the loss is {value} at iteration {iteration}; "
                f"lower the learning rate, or use --precision fp32"
            )
        return value

    def _save(self, stage: int, iteration: int) -> None:
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        save_checkpoint(self.setup.checkpoint, Checkpoint(stage, iteration, state, [*self.before, self.loss]))
        self.saved_at = time.monotonic()

    def _restore(self, checkpoint: Checkpoint) -> None:
        self.model.load_state_dict(checkpoint.state["model"])
        self.optimizer.load_state_dict(checkpoint.state["optimizer"])
        self.scaler.load_state_dict(checkpoint.state["scaler"])
        checkpoint.state.clear()  # it is not needed again, and is as large as the model and its optimiser
        self.loss = checkpoint.losses[self.index] if self.index < len(checkpoint.losses) else None


def task_losses(predictions: Mapping[str, Tensor], batch: Batch, tasks: Mapping[str, Task]) -> dict[str, Tensor]:
    """Return the unweighted loss of every predicted task, in float32."""
    return {name: tasks[name].loss(prediction.float(), batch.labels[name]) for name, prediction in predictions.items()}
