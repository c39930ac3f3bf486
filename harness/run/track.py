"""Trackers of a run (TensorBoard, W&B, MLflow ...), fed from its events through accelerate (extra ``track``)."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from harness.errors import UsageError, described, unknown
from harness.records import Record

FOLDER = "track"
"""Folder below the results for trackers that write files."""

PROJECT = "harness"
"""Name of the project, for trackers that have such."""

_NAMED = {
    "wandb": "name",
    "trackio": "name",
    "mlflow": "run_name",
    "swanlab": "experiment_name",
    "clearml": "task_name",
}
"""Arguments by which trackers that belong to a project take the name of a run."""


class TrackerFault(UserWarning):
    """A tracker that failed and gets nothing any more; the run goes on."""


def check_trackers(names: Sequence[str]) -> None:
    """Check that trackers exist and are installed: before hours of work, not after.

    Raises:
        UsageError: one does not, or is not.
    """
    if not names:
        return
    try:
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
    except ImportError as error:
        raise UsageError("--track: needs accelerate; install it with pip install 'mtl-harness[track]'") from error
    installed = {str(getattr(one, "value", one)) for one in get_available_trackers()}
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            raise UsageError(unknown("tracker", name, LOGGER_TYPE_TO_CLASS))
        if name not in installed:
            raise UsageError(f"--track {name}: is not installed; install its package")


class Tracking:
    """The trackers of one run.

    Args:
        names: Of the trackers, keys of `accelerate.tracking.LOGGER_TYPE_TO_CLASS`.
        results: Results folder.
        run_id: Name of the run.
        settings: What it is run with; single values are shown.
    """

    def __init__(self, names: Sequence[str], results: Path, run_id: str, settings: Mapping[str, Any]) -> None:
        self.trackers: dict[str, Any] = {}
        if not names:
            return
        from accelerate.state import PartialState
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        PartialState(cpu=True)  # accelerate's loggers ask it who speaks
        plain = {key: value for key, value in settings.items() if isinstance(value, str | int | float)}
        for name in names:
            kind = LOGGER_TYPE_TO_CLASS[name]

            def start(name: str = name, kind: Any = kind) -> None:
                if name in _NAMED:
                    tracker = kind(PROJECT, **{_NAMED[name]: run_id})
                elif kind.requires_logging_directory:
                    tracker = kind(run_id, logging_dir=results / FOLDER)
                else:
                    tracker = kind(PROJECT)
                if hasattr(tracker, "start"):
                    tracker.start()
                self.trackers[name] = tracker
                tracker.store_init_configuration(plain)

            self._try(name, start)

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Log the numbers of a look at the training, under the name of its stage."""
        if event["event"] != "train":
            return
        values = {"loss": event["loss"], "lr": event["lr"], "images_per_s": event.get("images_per_s")}
        values |= {f"loss of {name}": value for name, value in event["losses"].items()}
        known = {f"{event['stage']}/{name}": value for name, value in values.items() if value is not None}
        self._log(known, event["iteration"])

    def close(self, record: Record) -> None:
        """Log the metrics, and end."""
        found = {
            f"metrics/{task} {name}": metric.value
            for task, metrics in record.metrics.items()
            for name, metric in metrics.items()
            if metric.value is not None and math.isfinite(metric.value)
        }
        if record.status == "complete":
            self._log(found, 0)
        for name, tracker in list(self.trackers.items()):
            self._try(name, tracker.finish)

    def _log(self, values: Mapping[str, float], step: int) -> None:
        for name, tracker in list(self.trackers.items()):
            self._try(name, partial(tracker.log, dict(values), step=step))

    def _try(self, name: str, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # a server that is away, a full disk: a view of a run must not end it
            self.trackers.pop(name, None)
            warnings.warn(f"tracker {name} gets nothing any more ({described(error)})", TrackerFault, stacklevel=2)
