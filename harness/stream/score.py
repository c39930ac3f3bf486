"""Scores of a stream on clips: metrics on labelled frames, errors against dense runs, consistency, costs, pace."""

import contextlib
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.compute import Compute
from harness.counting import count_macs
from harness.data.cache import Scenes
from harness.data.clips import Clip
from harness.data.geometry import at_label_size
from harness.data.sample import Sample
from harness.data.transforms import EvalTransform
from harness.model import MultiTaskModel
from harness.protocol import Protocol
from harness.records.stream import KindScores
from harness.stream.consistency import (
    ClassConsistency,
    depth_change,
    map_change,
    normals_change,
    pulse,
    video_consistency,
)
from harness.stream.contract import Frame, Stream, open_stream
from harness.stream.off_dense import growth, off_dense
from harness.stream.play import dense_stream
from harness.stream.policy import StreamPolicy
from harness.stream.realtime import replay, without_output
from harness.stream.tally import Tally
from harness.tasks.base import Task

WINDOWS = (8, 16)
"""Frames of the windows of video consistency."""

Timed = tuple[list[float], list[bool], list[float]]
"""Milliseconds of every frame, whether it was computed in full, and the moments of the outputs in seconds."""


class ClipScorer:
    """Streams clips through a model and scores them, each with a stream of its own.

    Args:
        model: In evaluation mode, on its device.
        tasks: Task objects by name.
        scenes: Labelled frames of the clips, with the labels that are scored; ids are ``<clip>-<frame>``.
        protocol: Conventions of the meters.
        transform: Makes inputs of frames.
        policy: How the streams are computed.
        compute: Device and arithmetic.

    Attributes:
        tallies: Kind of motion to the sums of the clips so far.
        state_bytes: Largest state of a stream so far.
    """

    def __init__(
        self,
        model: MultiTaskModel,
        tasks: Mapping[str, Task],
        scenes: Scenes,
        protocol: Protocol,
        transform: EvalTransform,
        policy: StreamPolicy,
        compute: Compute,
    ) -> None:
        self.model, self.tasks, self.protocol = model, tasks, protocol
        self.transform, self.policy, self.compute = transform, policy, compute
        self.labels = {name: task.scored_label(protocol) for name, task in tasks.items()}
        self.scenes = scenes
        self._places = {image_id: place for place, image_id in enumerate(scenes.ids)}
        self.tallies: dict[str, Tally] = {}
        self.state_bytes = 0
        self.fps: float | None = None

    def score(self, clip: Clip, timed: Timed | None, note: Callable[[dict[str, Any]], None]) -> None:
        """Stream one clip beside a dense stream of the same weights, and add it to the tally of its kind.

        Args:
            clip: The clip.
            timed: Times of a clip of its kind, which say which output is in force at each frame; None for none.
            note: Receives the account of every frame.
        """
        with contextlib.ExitStack() as stack:
            tally = self._tally(timed is not None)
            for meter in (*tally.meters.values(), *tally.live.values()):
                stack.callback(meter.close)  # of worker processes, where a clip breaks off
            self._stream(clip, timed, note, tally)
            kind = clip.info.kind or "clips"
            if kind not in self.tallies:
                self.tallies[kind] = self._tally(timed is not None)
            self.tallies[kind].add(tally)

    def _stream(self, clip: Clip, timed: Timed | None, note: Callable[[dict[str, Any]], None], tally: Tally) -> None:
        """Stream one clip into a tally."""
        names = list(self.tasks)
        stream, reference = open_stream(self.model, self.policy), dense_stream(self.model)
        past: dict[str, list[Tensor]] = defaultdict(list)  # raw maps [1, C, H, W] of every frame
        labels: list[dict[str, Tensor]] = []
        samples: list[Sample] = []
        for index, sample in enumerate(self._samples(clip)):
            item = self.transform(sample)
            image = torch.from_numpy(item.image)[None].to(self.compute.device)
            frame, macs = self._counted(stream, image, clip.info.frames[index].pts)
            with self.compute.autocast():
                dense = reference.step(image, None, names)
            # 1. Against the truth, and against the dense run.
            labels.append({task: torch.from_numpy(item.labels[key])[None] for task, key in self._held(item.labels)})
            samples.append(sample)
            errors = {}
            for task, raw in frame.predictions.items():
                map_ = raw.float().cpu()
                errors[task] = off_dense(task, map_[0], dense.predictions[task][0].float().cpu())
                tally.errors[task].append(errors[task])
                if task in labels[-1]:
                    tally.spoiled[task] += not bool(map_.isfinite().all())
                    tally.meters[task].update(at_label_size(map_.nan_to_num(), labels[-1][task]), labels[-1][task])
                past[task].append(map_)
            # 2. What it took.
            tally.macs.append(macs)
            tally.full.append(frame.report.full)
            tally.dense = tally.dense or dict(dense.report.macs) or macs
            self.state_bytes = max(self.state_bytes, stream.state_bytes)
            note(self._line(clip, index, frame, macs, errors, stream.state_bytes))
        tally.clips = 1
        # 3. Over time: consistency, drift, and the outputs in force.
        for task, found in tally.errors.items():
            if math.isfinite(ratio := growth(found)):
                tally.values[f"{task}.drift@off-dense"].append(ratio)
        self._consistency(clip, past, samples, tally)
        if timed is not None:
            self._in_force(clip, past, labels, timed, tally)

    def scores(self) -> dict[str, KindScores]:
        """Return the scores so far by kind of motion, ``all`` first; empty before the first clip."""
        if not self.tallies:
            return {}
        whole = self._tally(any(tally.live for tally in self.tallies.values()))
        for tally in self.tallies.values():
            whole.add(tally)
        return {name: tally.scores(self.fps) for name, tally in {"all": whole, **self.tallies}.items()}

    def times(self, clip: Clip) -> Timed:
        """Return the times of every frame of a clip, uncounted; the first frame of the stream is among them."""
        ms, full, finished = [], [], []
        stream = open_stream(self.model, self.policy)
        for index, picture in enumerate(clip):
            item = self.transform(Sample(clip.id, picture, {}))
            image = torch.from_numpy(item.image)[None].to(self.compute.device)
            start = time.perf_counter()
            frame = self._step(stream, image, clip.info.frames[index].pts)
            if self.compute.device.type == "cuda":
                torch.cuda.synchronize(self.compute.device)
            finished.append(time.perf_counter())
            ms.append(1000 * (finished[-1] - start))
            full.append(frame.report.full)
        return ms, full, finished

    # Parts of a clip

    def _tally(self, live: bool) -> Tally:
        meters = ({name: task.meter(self.protocol) for name, task in self.tasks.items()} for _ in range(2))
        return Tally(next(meters), next(meters) if live else {})

    def _samples(self, clip: Clip) -> Iterator[Sample]:
        """Yield every frame, with its labels where it is labelled."""
        for index, frame in enumerate(clip.info.frames):
            name = f"{clip.id}-{index:06d}"
            labelled = frame.labels and name in self._places
            yield self.scenes[self._places[name]] if labelled else Sample(name, clip.image(index), {})

    def _held(self, labels: Mapping[str, object]) -> list[tuple[str, str]]:
        return [(task, key) for task, key in self.labels.items() if key in labels]

    def _step(self, stream: Stream, image: Tensor, pts: float) -> Frame:
        with self.compute.autocast():
            return stream.step(image, pts, list(self.tasks))

    def _counted(self, stream: Stream, image: Tensor, pts: float) -> tuple[Frame, dict[str, int]]:
        """Predict a frame and count its MACs by part."""
        frames: list[Frame] = []
        counted = count_macs(lambda: frames.append(self._step(stream, image, pts)))
        return frames[0], dict(counted.per_part)

    def _line(
        self, clip: Clip, index: int, frame: Frame, macs: dict[str, int], errors: dict[str, float], state: int
    ) -> dict[str, Any]:
        """Return the account of one frame for ``frames.jsonl``."""
        report = frame.report
        return {
            "clip": clip.id,
            "index": index,
            "pts": clip.info.frames[index].pts,
            "kind": report.kind,
            "change": report.change if report.change is not None and math.isfinite(report.change) else None,
            "macs": macs,
            "active": {name: [list(pair) for pair in blocks] for name, blocks in report.active.items()},
            "state_bytes": state,
            "off_dense": errors,
        }

    def _in_force(
        self,
        clip: Clip,
        past: Mapping[str, Sequence[Tensor]],
        labels: Sequence[Mapping[str, Tensor]],
        timed: Timed,
        tally: Tally,
    ) -> None:
        """Score each frame by the output that is there at its time, when frames come at the rate of the clip."""
        ms, whole = timed[0], len(clip)
        # A clip of its kind was timed; one that is longer goes on at the pace of its last frame.
        seconds = [one / 1000 for one in (ms + [ms[-1]] * whole)[:whole]]
        shown = replay(seconds, clip.fps).shown
        self.fps = clip.fps
        tally.lags += [None if frame is None else index - frame for index, frame in enumerate(shown)]
        for index, frame in enumerate(shown):
            for task, label in labels[index].items():
                raw = past[task][index if frame is None else frame]
                map_ = at_label_size(raw.nan_to_num(), label)
                tally.live[task].update(without_output(task, map_, label) if frame is None else map_, label)

    def _consistency(
        self, clip: Clip, past: Mapping[str, Sequence[Tensor]], samples: Sequence[Sample], tally: Tally
    ) -> None:
        """Add the consistency of one clip over time."""
        values, whole = tally.values, len(clip)
        shown = {task: [self._shown(task, raw, clip.size()) for raw in maps] for task, maps in past.items()}
        truth = {
            task: [torch.from_numpy(np.array(sample.labels[task], np.float32)) for sample in samples]
            for task in ("semseg", "depth")
            if all(task in sample.labels for sample in samples)
        }
        # 1. Classes over windows of frames.
        if "semseg" in truth and "semseg" in shown:
            classes, labels = torch.stack([map_[0] for map_ in shown["semseg"]]), torch.stack(truth["semseg"])
            for window in WINDOWS:
                for rule in ("vspw", "all"):
                    if found := video_consistency(classes, labels, window, rule):
                        values[f"semseg.vc{window}@{rule}"].append(float(np.mean(found)))
        # 2. Maps along the motion, pair by pair.
        pairs = [(index, motion) for index in range(whole - 1) if (motion := clip.motion(index)) is not None]
        rule = "exact" if clip.info.motion == "exact" else "estimated"
        changes: dict[str, list[float]] = defaultdict(list)
        flow = ClassConsistency(self.tasks["semseg"].channels if "semseg" in self.tasks else 1)
        for index, motion in pairs:
            for task, maps in shown.items():
                before, after = maps[index], maps[index + 1]
                if task == "semseg":
                    changes["semseg.flicker"].append(flow.update(before[0].long(), after[0].long(), motion))
                elif task == "depth" and "depth" in truth:
                    true = truth["depth"][index], truth["depth"][index + 1]
                    changes["depth.opw"].append(depth_change(before[0], after[0], true, motion)[0])
                elif task == "normals":
                    changes["normals.change"].append(normals_change(before, after, motion))
                elif len(before) == 1 and task != "parts":
                    changes[f"{task}.change"].append(map_change(before[0], after[0], motion))
        if pairs and "semseg" in shown:
            values[f"semseg.tc@{rule}"].append(flow.tc())
        into = [tally.full[index + 1] for index, _ in pairs]
        for name, found in changes.items():
            values[f"{name}@{rule}"].append(float(np.nanmean(found)) if np.isfinite(found).any() else math.nan)
            if math.isfinite(beat := pulse(found, into)):
                values[f"{name.partition('.')[0]}.pulse@{rule}"].append(beat)

    def _shown(self, task: str, raw: Tensor, size: tuple[int, int]) -> Tensor:
        """Return what is followed over time: classes, metres, vectors or a probability, [1 or 3, H, W]."""
        decoded = raw[0] if task == "normals" else self.tasks[task].decode(raw)[0]
        return torch.from_numpy(np.ascontiguousarray(self.transform.restore(decoded.numpy(), size)))
