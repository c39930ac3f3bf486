"""Events of a stage in training: losses, speed, memory, and signs of life between them."""

import time
from typing import Any

import psutil
import torch
from torch import Tensor

from harness.events import BEAT_SECONDS, Events
from harness.recipe import Stage


class Notes:
    """Writer of the events of one stage.

    Args:
        events: Where they go.
        stage: The stage.
        device: Where it trains.
        later: Images that the stages after it train on.
    """

    def __init__(self, events: Events, stage: Stage, device: torch.device, later: int) -> None:
        self.events, self.stage, self.device, self.later = events, stage, device, later
        self._noted: tuple[float, int] | None = None  # time and iteration of the last event with a speed

    def write(self, iteration: int, looked: bool, loss: float | None, losses: dict[str, Tensor], lr: float) -> None:
        """Write an event: with the losses when the step was looked at, else a sign of life if it is time for one."""
        events, stage, device = self.events, self.stage, self.device
        ends = iteration in (0, stage.iterations - 1)
        if not (ends or events.due() if looked else events.due(BEAT_SECONDS)):
            return
        now = time.monotonic()
        values: dict[str, Any] = {}
        if self._noted is not None and iteration > self._noted[1]:
            speed = stage.batch_size * (iteration - self._noted[1]) / max(now - self._noted[0], 1e-9)
            left = stage.batch_size * (stage.iterations - 1 - iteration) + self.later
            values = {"images_per_s": round(speed, 3), "seconds_left": round(left / speed, 1)}
        self._noted = now, iteration
        if looked:  # each value waits for the device
            values |= {"loss": loss, "losses": {name: float(value) for name, value in losses.items()}}
        memory = (
            torch.cuda.max_memory_allocated(device) if device.type == "cuda" else psutil.Process().memory_info().rss
        )
        values |= {"stage": stage.name, "iteration": iteration + 1, "iterations": stage.iterations}
        events.write("train" if looked else "beat", **values, lr=lr, memory_bytes=memory)
