"""One stream played: frames from a source through a model, with an account of every frame, an overlay and a record."""

import io
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from harness.compute import Compute
from harness.counting import count_macs
from harness.data.geometry import Fit
from harness.data.video import Picture, VideoWriter
from harness.errors import DataError, HarnessError, MethodError, described
from harness.files import digest, write_atomically, writing_to
from harness.model import MultiTaskModel
from harness.probes.environment import provenance
from harness.records.stream import FrameTimes, StreamRecord, Times, frame_macs, write_stream_record
from harness.stream.config import StreamConfig
from harness.stream.contract import FrameReport, Stream, open_stream
from harness.stream.off_dense import off_dense
from harness.stream.overlay import Overlay, contact_sheet
from harness.stream.policy import StreamPolicy
from harness.stream.sources import Source
from harness.stream.tally import off_dense_metric
from harness.tasks import build_task
from harness.weights.artifact import Manifest

SHEET_ROWS = 8


@dataclass
class _Account:
    """Numbers of the frames so far."""

    ms: list[float] = field(default_factory=list)
    decode: list[float] = field(default_factory=list)
    draw: list[float] = field(default_factory=list)
    finished: list[float] = field(default_factory=list)
    reports: list[FrameReport] = field(default_factory=list)
    errors: dict[str, list[float]] = field(default_factory=dict)
    dropped: int = 0


class Player:
    """Plays a source through a model.

    Args:
        model: In evaluation mode, on its device.
        source: The frames.
        config: Settings.
        policy: How the stream is computed.
        manifest: Of the model's artifact.
        compute: Device and arithmetic.
        tell: Receives a line of progress after each frame: its number, rate, milliseconds and active tokens.
    """

    def __init__(
        self,
        model: MultiTaskModel,
        source: Source,
        config: StreamConfig,
        policy: StreamPolicy,
        manifest: Manifest,
        compute: Compute,
        tell: Callable[[int, str], None],
    ) -> None:
        self.model, self.source, self.config, self.policy = model, source, config, policy
        self.manifest, self.compute, self.tell = manifest, compute, tell
        self.tasks = {spec.name: build_task(spec) for spec in model.problem if spec.name in self._wanted()}
        self.stream = open_stream(model, policy)
        self.reference = dense_stream(model) if config.against == "dense" else None
        self.overlay = Overlay(self.tasks)
        self.account = _Account()
        self.sheet: list[list[tuple[str, Picture]]] = []
        self._video: VideoWriter | None = None
        self._fit = Fit(model.problem.input_size)
        self._counted: dict[str, int] = {}
        self._size: tuple[int, ...] | None = None

    def play(self) -> StreamRecord:
        """Play all frames and write the files; what was done is kept when the source breaks off or the user stops.

        Raises:
            DataError: the source broke off; the record is partial.
            MethodError: the model failed; likewise.
            KeyboardInterrupt: the user stopped; likewise.
        """
        folder = self.config.output
        folder.mkdir(parents=True, exist_ok=True)
        status: Literal["partial", "complete"] = "partial"
        failure: str | None = None
        try:
            with (folder / "frames.jsonl").open("w", encoding="utf-8") as lines:
                for line in self._frames():
                    lines.write(json.dumps(line) + "\n")
                    lines.flush()
            status = "complete"
        except HarnessError as error:
            failure = str(error)
            raise
        except KeyboardInterrupt:
            failure = "interrupted"
            raise
        finally:
            if self._video is not None:
                self._video.close()
            self._write_sheet()
            record = self._record(status, failure)
            if self.account.reports:
                write_stream_record(record, folder)
        if not self.account.reports:
            raise DataError(f"{self.source.name}: holds no frame")
        return record

    # Frames

    def _frames(self) -> Iterator[dict[str, Any]]:
        """Yield the account of every frame that is served."""
        config, account = self.config, self.account
        frames = enumerate(self.source.frames)
        begun = time.perf_counter()
        rate = config.fps or self.source.fps or 30.0
        while True:
            start = time.perf_counter()
            number, (pts, picture) = next(frames, (-1, (None, None)))
            if picture is None or (config.max_frames is not None and len(account.reports) >= config.max_frames):
                return
            decode = 1000 * (time.perf_counter() - start)
            if number % config.every:
                continue
            if config.realtime:
                # Frames come at the rate of the source; of those that came meanwhile the newest is served.
                due, now = number / rate, time.perf_counter() - begun
                if self.source.kind != "camera" and now > due + 1 / rate:
                    account.dropped += 1
                    continue
                if now < due:
                    time.sleep(due - now)
            account.decode.append(decode)
            yield self._serve(number, pts, picture)

    def _serve(self, number: int, pts: float | None, picture: Picture) -> dict[str, Any]:
        """Predict, draw and account for one frame."""
        account, names = self.account, list(self.tasks)
        if self._size not in (None, picture.shape):  # another size within a file
            self.stream.reset()
        resized = self._size not in (None, picture.shape)
        self._size = picture.shape
        start = time.perf_counter()
        image = torch.from_numpy(self._fit(picture))[None].to(self.compute.device)
        prepared = time.perf_counter()
        try:
            with self.compute.autocast():
                frame = self.stream.step(image, pts, names)
            self._wait()
        except HarnessError:
            raise
        except Exception as error:
            raise MethodError(f"frame {number}: {described(error)}") from error
        ms = 1000 * (time.perf_counter() - prepared)
        account.ms.append(ms)
        account.finished.append(time.perf_counter())
        report = frame.report
        account.reports.append(report)
        errors = self._errors(image, frame.predictions)
        # Drawing, beside the model's time.
        drawing = time.perf_counter()
        size = picture.shape[0], picture.shape[1]
        raw = {task: self._fit.restore(maps[0].float().cpu(), size) for task, maps in frame.predictions.items()}
        self._draw(picture, raw, report, ms)
        account.draw.append(1000 * (time.perf_counter() - drawing))
        shares = [pair[0] for blocks in report.active.values() for pair in blocks]
        rows = f", {100 * sum(shares) / len(shares):3.0f} % of tokens" if shares else ""
        mean = 1000 / max(float(np.mean(account.ms)), 1e-6)
        self.tell(len(account.reports), f"frame {number}: {mean:.1f} fps, {ms:.0f} ms{rows}")
        return {
            "index": number,
            "pts": pts,
            "kind": "full:resize" if resized and report.full else report.kind,
            "change": report.change if report.change is not None and np.isfinite(report.change) else None,
            "ms": {
                "decode": account.decode[-1],
                "prepare": 1000 * (prepared - start),
                "model": ms,
                **report.ms,
                "draw": account.draw[-1],
            },
            "macs": dict(self._macs(report, image)),
            "active": {name: [list(pair) for pair in blocks] for name, blocks in report.active.items()},
            "state_bytes": self.stream.state_bytes,
            "dropped": account.dropped,
            "off_dense": errors,
        }

    def _wait(self) -> None:
        if self.compute.device.type == "cuda":
            torch.cuda.synchronize(self.compute.device)

    def _errors(self, image: Tensor, predictions: Mapping[str, Tensor]) -> dict[str, float]:
        """Return the errors against a dense run of this frame, where that is asked for."""
        if self.reference is None:
            return {}
        dense = self.reference.step(image, None, list(predictions)).predictions
        found = {task: off_dense(task, maps[0].float(), dense[task][0].float()) for task, maps in predictions.items()}
        for task, error in found.items():
            self.account.errors.setdefault(task, []).append(error)
        return found

    def _macs(self, report: FrameReport, image: Tensor) -> Mapping[str, int]:
        """Return the MACs of a frame; of models without formulas they are counted once."""
        if report.macs or report.kind == "copy":
            return report.macs
        if not self._counted:
            with torch.inference_mode():
                self._counted = {"model": count_macs(lambda: self.model(image, list(self.tasks))).macs}
        return self._counted

    # Files

    def _draw(self, picture: Picture, raw: Mapping[str, Tensor], report: FrameReport, ms: float) -> None:
        config = self.config
        if config.format == "none":
            return
        # Rows of the sheet: the first eight, then every second, fourth ... of what came, so that they spread evenly.
        step = 1 << max(0, (len(self.account.reports) - 1) // SHEET_ROWS).bit_length()
        if (len(self.account.reports) - 1) % step == 0:
            self.sheet.append(self.overlay.panels(picture, raw, report))
            if len(self.sheet) > 2 * SHEET_ROWS:
                self.sheet = self.sheet[::2]
        if config.format == "mp4":
            shown = self.overlay.draw(picture, raw, report, ms)
            if self._video is None:
                rate = config.fps or self.source.fps or 30.0
                self._video = VideoWriter(config.output / "overlay.mp4", rate / config.every)
            self._video.write(shown)

    def _write_sheet(self) -> None:
        if not self.sheet:
            return
        spread = np.linspace(0, len(self.sheet) - 1, min(SHEET_ROWS, len(self.sheet))).round().astype(int)
        buffer = io.BytesIO()
        contact_sheet([self.sheet[index] for index in spread]).save(buffer, "PNG")
        with writing_to(f"-o {self.config.output}"):
            write_atomically(self.config.output / "sheet.png", buffer.getvalue())

    def _record(self, status: Literal["partial", "complete"], failure: str | None) -> StreamRecord:
        """Return the record of what was played."""
        account, origin = self.account, provenance(self.compute.device)
        full = [report.full for report in account.reports]
        macs = [dict(report.macs or self._counted) for report in account.reports]
        dense = next((count for count, whole in zip(macs, full, strict=True) if whole), None)
        policy = self.policy.model_dump(mode="json")
        identity = {"source": self.source.name, "policy": policy, "artifact": str(self.config.artifact)}
        return StreamRecord(
            run_id=f"stream/{self.manifest.method}.{self.manifest.backbone}.{digest(identity)[:8]}",
            status=status,
            failure=failure,
            created_at=origin.moment,
            updated_at=origin.moment,
            harness=origin.software,
            command=origin.command,
            source=self.source.name,
            source_kind=self.source.kind,
            lossless=self.source.lossless,
            method=self.manifest.method,
            backbone=self.manifest.backbone,
            artifact=None,
            options=self.manifest.options,
            policy=policy,
            tasks=list(self.tasks),
            input_size=self.model.problem.input_size,
            device=self.compute.device.type,
            precision=self.compute.precision,
            threads=torch.get_num_threads() if self.compute.device.type == "cpu" else None,
            frames=len(account.reports),
            frames_dropped=account.dropped,
            full_frames=dict(Counter(r.kind.partition(":")[2] for r in account.reports if r.kind.startswith("full"))),
            times=frame_times(
                account.ms, full, np.diff(account.finished).tolist(), self.config.fps or self.source.fps, account
            ),
            macs=frame_macs(macs, full, dense, counted=False) if macs else None,
            state_bytes=self.stream.state_bytes,
            off_dense={task: off_dense_metric(task, errors) for task, errors in account.errors.items()},
            system_id=origin.system_id,
            environment=origin.environment,
            warnings=[]
            if self.source.lossless
            else ["frames were compressed with loss: they are looked at, not scored"],
        )

    def _wanted(self) -> list[str]:
        return self.config.task or list(self.model.problem.names)


def frame_times(
    ms: Sequence[float],
    full: Sequence[bool],
    intervals: Sequence[float],
    fps: float | None,
    account: _Account | None = None,
) -> FrameTimes:
    """Return the statistics of the times of a stream.

    Args:
        ms: Of every frame.
        full: Whether it was computed in full.
        intervals: Seconds between one output and the next.
        fps: Rate of the deadline; None for none.
        account: Times of decoding and drawing; None where there were none.
    """
    return FrameTimes(
        all=Times.of(ms),
        full=Times.of([time for time, whole in zip(ms, full, strict=True) if whole]),
        partial=Times.of([time for time, whole in zip(ms, full, strict=True) if not whole]),
        first_ms=ms[0] if ms else None,
        jitter_ms=1000 * float(np.std(intervals)) if len(intervals) else None,
        fps=1000 * len(ms) / sum(ms) if ms else None,
        deadline_misses=sum(time > 1000 / fps for time in ms) if fps else None,
        deadline_fps=fps,
        decode_ms=float(np.mean(account.decode)) if account and account.decode else None,
        draw_ms=float(np.mean(account.draw)) if account and account.draw else None,
    )


def dense_stream(model: MultiTaskModel) -> Stream:
    """Return a stream of the same weights with nothing skipped, the reference of errors."""
    return open_stream(model, StreamPolicy(keyframes="period:1", heads="dense"))
