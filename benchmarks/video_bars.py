"""Bars of streams, measured: trained networks on validation clips of nyud-synth-video, costs on random weights.

    harness run -m single-task share -d nyud-synth-video
    python benchmarks/video_bars.py SINGLE_TASK_ARTIFACT SHARE_ARTIFACT -o benchmarks/video.json

Every bar is printed beside what was measured, and written as JSON. Streams have dense heads unless a line says
otherwise; a clip is run densely once, and then under every policy that has a bar on its kind of motion.
"""

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from video import MEASURED, TASKS, at_rest, blocks, build, memory, say, whole

import harness
from harness.data.clips import Clip, ClipFolder
from harness.data.geometry import Fit
from harness.datasets.nyud_synth_video import NYUDSynthVideo
from harness.model import MultiTaskModel
from harness.protocol import Protocol
from harness.stream import StreamPolicy, open_stream
from harness.stream.consistency import ClassConsistency, depth_change, normals_change, pulse
from harness.stream.off_dense import feature_error, growth, off_dense
from harness.tasks import build_task
from harness.tasks.base import Meter

POLICIES = {
    "top-k": StreamPolicy(mode="gated", rows=0.1, heads="dense"),
    "threshold": StreamPolicy(mode="gated", threshold=0.1, heads="dense"),
    "open": StreamPolicy(mode="gated", rows=0.1, heads="dense", loop="open"),
    "keyframes": StreamPolicy(mode="gated", rows=0.1, heads="dense", keyframes="period:8"),
    "base": StreamPolicy(mode="gated", rows=0.1, heads="dense", rows_of="base"),
}
DENSE = StreamPolicy(mode="gated", keyframes="period:1", heads="dense")
OF_KIND = {
    "static": ("top-k", "threshold"),
    "object": ("top-k",),
    "slow": ("top-k",),
    "hand": ("top-k", "threshold", "open", "keyframes"),
    "walk": ("top-k",),
    "fast": ("threshold",),
    "cut": ("top-k",),
    "light": ("top-k",),
}
"""Kind of motion to the policies that are run on it with single-task networks."""


class Run:
    """One model's frames of one clip under one policy.

    Attributes:
        maps: Task to raw maps [C, H, W] at the size of the clip.
        features: Network to the maps that heads read.
        kinds: Kind of every frame.
        blocks: MACs of the blocks of every frame.
    """

    def __init__(self, model: MultiTaskModel, clip: Clip, policy: StreamPolicy) -> None:
        stream, fit = open_stream(model, policy), Fit(model.problem.input_size)
        self.maps: dict[str, list[Tensor]] = defaultdict(list)
        self.features: dict[str, list[Tensor]] = defaultdict(list)
        self.kinds: list[str] = []
        self.blocks: list[int] = []
        for index, picture in enumerate(clip):
            frame = stream.step(torch.from_numpy(fit(picture))[None], clip.info.frames[index].pts)
            for task, raw in frame.predictions.items():
                self.maps[task].append(fit.restore(raw[0], clip.size()).clone())
            for name, map_ in stream.features.items():  # type: ignore[attr-defined]
                self.features[name].append(map_.clone())
            self.kinds.append(frame.report.kind)
            self.blocks.append(sum(macs for part, macs in frame.report.macs.items() if part.startswith("blocks")))

    def errors(self, dense: "Run", task: str) -> list[float]:
        """Return the error of a task against the dense run, by frame."""
        return [off_dense(task, one, other) for one, other in zip(self.maps[task], dense.maps[task], strict=True)]

    def feature_errors(self, dense: "Run", names: list[str]) -> list[float]:
        """Return the error of what heads read, by frame, mean over some networks."""
        by_name = [
            [feature_error(a, b) for a, b in zip(self.features[name], dense.features[name], strict=True)]
            for name in names
        ]
        return [statistics.mean(frame) for frame in zip(*by_name, strict=True)]


class Scores:
    """Values of all rooms: (kind of motion, policy, name) to one value per frame or clip."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str, str], list[float]] = defaultdict(list)
        self.meters: dict[tuple[str, str], dict[str, Meter]] = {}

    def mean(self, kind: str, policy: str, name: str) -> float:
        """Return the mean of a value."""
        return float(np.nanmean(self.values[kind, policy, name]))

    def note(self, kind: str, policy: str, clip: Clip, run: Run, dense: Run) -> None:
        """Add a run of a clip."""
        values = self.values
        partial = [index for index, name in enumerate(run.kinds) if name == "partial"]
        for task in run.maps:
            values[kind, policy, task] += run.errors(dense, task)
        values[kind, policy, "blocks"] += [run.blocks[index] / dense.blocks[index] for index in partial]
        values[kind, policy, "cuts"].append(sum(name == "full:cut" for name in run.kinds))
        errors = run.feature_errors(dense, list(run.features))
        values[kind, policy, "drift"].append(growth(errors))
        values[kind, policy, "end"].append(statistics.mean(errors[-4:]))
        for name, found in changes(clip, run):
            values[kind, policy, name].append(float(np.nanmean(found)))
            values[kind, policy, f"pulse {name}"].append(
                pulse(found, [name.startswith("full") for name in run.kinds[1:]])
            )

    def meter(self, kind: str, policy: str, clip: Clip, run: Run, model: MultiTaskModel) -> None:
        """Add the frames of a run to the meters of its tasks."""
        tasks = {spec.name: build_task(spec) for spec in model.problem}
        key = kind, policy
        if key not in self.meters:
            self.meters[key] = {name: task.meter(Protocol()) for name, task in tasks.items()}
        for index in range(len(clip)):
            for name, meter in self.meters[key].items():
                label = np.asarray(clip.label(index, name), np.float32)
                label = label[None] if label.ndim == 2 else np.moveaxis(label, 2, 0)
                if name == "depth":
                    label = np.where(label == 0, 255, label)
                meter.update(run.maps[name][index][None], torch.from_numpy(np.ascontiguousarray(label))[None])

    def gain(self, kind: str, policy: str) -> float:
        """Return the multi-task gain of a policy over dense runs, percent."""
        gains = []
        for name, meter in self.meters[kind, policy].items():
            ours = next(iter(meter.compute().values()))
            theirs = next(iter(self.meters[kind, "dense"][name].compute().values()))
            sign = 1 if ours.higher_is_better else -1
            gains.append(100 * sign * (ours.value - theirs.value) / theirs.value)
        return statistics.mean(gains)


def changes(clip: Clip, run: Run) -> Iterator[tuple[str, list[float]]]:
    """Yield the changes of classes, depth and normals along the exact motion, into frames 1, 2, ..."""
    found: dict[str, list[float]] = defaultdict(list)
    classes = ClassConsistency(run.maps["semseg"][0].shape[0]) if "semseg" in run.maps else None
    for index in range(len(clip) - 1):
        motion = clip.motion(index)
        assert motion is not None
        if classes is not None:
            before, after = (run.maps["semseg"][at].argmax(0) for at in (index, index + 1))
            found["flicker"].append(classes.update(before, after, motion))
        if "depth" in run.maps:
            truth = [torch.from_numpy(clip.label(at, "depth").astype(np.float32)) for at in (index, index + 1)]
            maps = [run.maps["depth"][at][0] for at in (index, index + 1)]
            found["opw"].append(depth_change(maps[0], maps[1], (truth[0], truth[1]), motion)[0])
        if "normals" in run.maps:
            found["normals change"].append(normals_change(*run.maps["normals"][index : index + 2], motion))
    yield from found.items()


def run_single(model: MultiTaskModel, clips: ClipFolder, rooms: int, scores: Scores) -> None:
    """Run single-task networks, each gated against its own past."""
    for kind, policies in OF_KIND.items():
        for clip in [clip for clip in clips if clip.info.kind == kind][:rooms]:
            dense = Run(model, clip, DENSE)
            for policy in policies:
                run = Run(model, clip, POLICIES[policy])
                scores.note(kind, policy, clip, run, dense)
                if kind == "hand" and policy == "top-k":
                    scores.meter(kind, policy, clip, run, model)
                    scores.meter(kind, "dense", clip, dense, model)
                if kind == "cut":
                    at = run.kinds.index("full:cut") if "full:cut" in run.kinds else len(run.kinds) // 2
                    scores.values[kind, policy, "at the cut"].append(run.errors(dense, "semseg")[at])
            for name, found in changes(clip, dense):
                scores.values[kind, "dense", name].append(float(np.nanmean(found)))
            print(f"    {clip.id} done", flush=True)


def run_share(model: MultiTaskModel, clips: ClipFolder, rooms: int, scores: Scores) -> None:
    """Run the sharing method: a sub-task's features with rows of its own and with the base's."""
    for clip in [clip for clip in clips if clip.info.kind == "hand"][:rooms]:
        dense = Run(model, clip, DENSE)
        for policy in ("top-k", "base"):
            errors = Run(model, clip, POLICIES[policy]).feature_errors(dense, ["depth"])
            scores.values["hand", policy, "sub-task"] += errors[1:]
        print(f"    share {clip.id} done", flush=True)


def report(scores: Scores) -> None:
    """Print the bars of single-task networks."""

    def off(bar: str, kind: str, policy: str, limits: tuple[float, float, float]) -> None:
        for task, limit, factor, unit in zip(TASKS[:3], limits, (100, 100, 1), "%%°", strict=True):
            value = factor * scores.mean(kind, policy, task.name)
            say(f"{bar} {kind}, {policy}: {task.name} off dense", value, limit, unit, least=False)

    def active(bar: str, kind: str, policy: str, limit: float) -> None:
        value = 100 * statistics.median(scores.values[kind, policy, "blocks"])
        say(f"{bar} {kind}, {policy}: block MACs of partial frames", value, limit, "%", least=False)

    active("A1", "static", "threshold", 2)
    say("A1 static, threshold: semseg off dense", 100 * scores.mean("static", "threshold", "semseg"), 0.5, "%", False)
    off("A2", "object", "top-k", (0.8, 0.4, 0.5))
    off("A3", "hand", "top-k", (3.5, 1.2, 1.8))
    active("A3", "hand", "top-k", 10.5)
    say("A3 hand, top-k: gain over dense runs", scores.gain("hand", "top-k"), -1, "%")
    off("A4", "hand", "threshold", (1.8, 1.0, 1.5))
    active("A4", "hand", "threshold", 35)
    off("A5", "fast", "threshold", (1.8, 1.0, 1.2))
    active("A5", "fast", "threshold", 60)
    say("A6 drift, hand, top-k, closed loop", scores.mean("hand", "top-k", "drift"), 1.3, "x", least=False)
    worse = scores.mean("hand", "open", "end") / scores.mean("hand", "top-k", "end")
    say("A6 open loop over closed loop at the end", worse, 1.3, "x")
    say("A7 cut: semseg off dense at the cut", 100 * scores.mean("cut", "top-k", "at the cut"), 0, "%", least=False)
    caught = sum(scores.values["cut", "top-k", "cuts"])
    say("A7 cuts caught, fraction", caught / len(scores.values["cut", "top-k", "cuts"]), 1, "")
    others = [sum(found) for (kind, _, name), found in scores.values.items() if name == "cuts" and kind != "cut"]
    say("A7 full passes for cuts on other kinds of motion", sum(others), 0, "", least=False)
    for kind in ("static", "hand"):
        for name in ("flicker", "opw", "normals change"):
            ratio = scores.mean(kind, "top-k", name) / scores.mean(kind, "dense", name)
            say(f"A11 {kind}, top-k: {name} over that of dense runs", ratio, 1.05, "x", least=False)
    pulses = scores.mean("hand", "keyframes", "pulse opw")
    say("A11 hand, dense keyframes every 8: pulse of depth", pulses, 1.2, "x", least=False)


def main() -> None:
    """Measure every bar and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("single", type=Path, help="Artifact of single-task, four tasks.")
    parser.add_argument("share", type=Path, nargs="?", help="Artifact of share; without it A8 is left out.")
    parser.add_argument("--data-root", type=Path, help="Clips.  [default: the rendered ones]")
    parser.add_argument("--rooms", type=int, default=3)
    parser.add_argument("--frames", type=int, default=12, help="Frames of the timings; 0 leaves them out.")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    dataset = NYUDSynthVideo()
    clips = dataset.clips(dataset.root(options.data_root), "val")
    scores = Scores()
    with torch.inference_mode():
        run_single(harness.load(options.single).eval(), clips, options.rooms, scores)
        report(scores)
        if options.share:
            run_share(harness.load(options.share).eval(), clips, options.rooms, scores)
            own, base = (100 * scores.mean("hand", policy, "sub-task") for policy in ("top-k", "base"))
            say("A8 sub-task, hand, top-k: features off dense", own, 11, "%", least=False)
            say("A8 with the base's tokens, times that", base / own, 1.15, "x", least=False)
    if options.frames:
        memory(1000)
        draw = torch.Generator().manual_seed(0)
        frames = [torch.randn(1, 3, 288, 384, generator=draw)]
        frames += [frames[0] + 0.05 * torch.randn(1, 3, 288, 384, generator=draw) for _ in range(options.frames)]
        model = build("vit-s16", (288, 384), TASKS)
        blocks(model, frames)
        whole(model, frames)
        at_rest(model, options.frames)
    missed = [str(one["name"]) for one in MEASURED if not one["met"]]
    print(
        f"{len(MEASURED) - len(missed)} of {len(MEASURED)} bars met" + "".join(f"\n  missed: {one}" for one in missed)
    )
    if options.output:
        options.output.write_text(json.dumps({"rooms": options.rooms, "bars": MEASURED}, indent=1) + "\n")


if __name__ == "__main__":
    main()
