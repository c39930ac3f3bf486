"""Costs of streams on random weights, one thread: gated blocks, whole frames of four tasks, bytes and memory.

    python benchmarks/video.py
    python benchmarks/video_bars.py ...    these and the bars of trained networks, in one table

CPU time of the thread, interleaved frame by frame, so that other work on the machine adds little. Prints what is
measured beside its bar: blocks in place (A9), whole frames (A10), also of a rendered camera at rest with gated heads,
bytes of the state and memory of many frames (A12).
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import psutil
import torch
from torch import Tensor

from harness.baselines.single_task import SeparateNets, SingleTask
from harness.data.transforms import normalise
from harness.datasets.synth.video import film
from harness.problem import Problem, TaskSpec
from harness.stream import StreamPolicy, open_stream
from harness.stream.gated import GatedStream
from harness.stream.state import block_state_bytes
from harness.stream.vit import Pass

TASKS = (TaskSpec("semseg", 40), TaskSpec("depth"), TaskSpec("normals"), TaskSpec("boundary"))


def build(backbone: str, size: tuple[int, int], tasks: tuple[TaskSpec, ...]) -> SeparateNets:
    """Return untrained networks, one per task."""
    torch.manual_seed(0)
    return SingleTask(SingleTask.Options(), backbone).build(Problem(tasks, size)).eval()


def seconds(call: Callable[[], object]) -> float:
    """Return the CPU time of a call in this thread."""
    start = time.thread_time()
    call()
    return time.thread_time() - start


def gated(model: SeparateNets, rows: float) -> GatedStream:
    """Return a stream with a fraction of the tokens active and dense heads."""
    stream = open_stream(model, StreamPolicy(mode="gated", rows=rows, heads="dense", keyframes="first"))
    assert isinstance(stream, GatedStream)
    return stream


MEASURED: list[dict[str, object]] = []
"""Every value beside its bar, as it was printed."""


def say(name: str, measured: float, bar: float, unit: str, least: bool = True) -> None:
    """Print a value beside its bar."""
    fine = bool(measured >= bar if least else measured <= bar)
    MEASURED.append({"name": name, "measured": measured, "unit": unit, "bar": bar, "least": least, "met": fine})
    print(
        f"{name:58} {measured:8.2f} {unit:4} bar {'>=' if least else '<='} {bar:g}  {'ok' if fine else 'MISSED'}",
        flush=True,
    )


def blocks(model: SeparateNets, frames: list[Tensor]) -> None:
    """Time the blocks of one network, gated in place against dense."""
    for rows, bar in ((0.1, 3.0), (0.2, 2.2)):
        stream = gated(model, rows)
        stream.step(frames[0], tasks=["semseg"])
        [network, *_] = stream.networks
        ratios = []
        with torch.inference_mode():
            for frame in frames[1:]:
                x = network.vit.embed(frame)
                resting = seconds(partial(network.vit.gated, x, network.state, stream._gate(), Pass()))
                full = seconds(partial(network.vit.dense, x, network.state, Pass()))
                ratios.append(full / resting)
        say(f"A9 blocks in place, rows {rows}, times faster than dense", statistics.median(ratios), bar, "x")


def whole(model: SeparateNets, frames: list[Tensor]) -> None:
    """Time whole frames of all tasks, gated against one dense network per task."""
    stream, dense = gated(model, 0.1), open_stream(model, StreamPolicy(mode="per-frame"))
    first = stream.step(frames[0]).report.macs
    ratios, macs = [], 0
    for frame in frames[1:]:
        full = seconds(lambda frame=frame: dense.step(frame))
        ratios.append(full / seconds(lambda frame=frame: stream.step(frame)))
        macs = sum(stream.step(frame).report.macs.values())
    say("A10 whole frame, 4 tasks, rows 0.1, dense heads", statistics.median(ratios), 2.2, "x")
    print(f"    worst frame {min(ratios):.2f} x; MACs {sum(first.values()) / macs:.2f} x fewer")


def at_rest(model: SeparateNets, count: int) -> None:
    """Time whole frames of a rendered camera at rest under a threshold, heads gated too, against dense networks."""
    pictures = [frame.image for frame in film("static", 30_000, size=(288, 384), frames=count + 1).frames]
    frames = [torch.from_numpy(normalise(picture))[None] for picture in pictures]
    policy = StreamPolicy(mode="gated", threshold=0.1, heads="gated", head_threshold=0.1)
    stream, dense = open_stream(model, policy), open_stream(model, StreamPolicy(mode="per-frame"))
    first = stream.step(frames[0]).report.macs
    ratios, macs = [], []
    for frame in frames[1:]:
        full = seconds(lambda frame=frame: dense.step(frame))
        reports = []
        ratios.append(full / seconds(lambda frame=frame, reports=reports: reports.append(stream.step(frame).report)))
        macs.append(sum(reports[0].macs.values()))
    say("whole frame, 4 tasks, static, threshold 0.1, gated heads", statistics.median(ratios), 3.5, "x")
    fewer = sum(first.values()) / max(1.0, statistics.mean(macs))
    print(f"    worst frame {min(ratios):.2f} x; MACs {fewer:.2f} x fewer; stretch goal 5 x")


def memory(count: int) -> None:
    """Compare the state with its formula, and watch the memory of a long stream."""
    model = build("vit-micro", (48, 64), TASKS)
    stream = gated(model, 0.1)
    draw = torch.Generator().manual_seed(0)
    image = torch.randn(1, 3, 48, 64, generator=draw)
    held = 0
    for index in range(count):
        stream.step(image + 0.1 * torch.randn(1, 3, 48, 64, generator=draw))
        if index == count // 10:  # what libraries keep for good is there by then
            held = psutil.Process().memory_info().rss
    grown = (psutil.Process().memory_info().rss - held) / 1e6
    tokens, width = 49, 96
    expected = 4 * 4 * block_state_bytes(tokens, width) + tokens * width * 4
    say("A12 bytes of the state minus the formula", stream.state_bytes - expected, 0, "B", least=False)
    say(f"A12 memory grown over {count} frames", abs(grown), 5, "MB", least=False)


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--long", type=int, default=1000, help="Frames of the memory test.")
    options = parser.parse_args()
    torch.set_num_threads(1)
    memory(options.long)
    draw = torch.Generator().manual_seed(0)
    frames = [torch.randn(1, 3, 288, 384, generator=draw)]
    frames += [frames[0] + 0.05 * torch.randn(1, 3, 288, 384, generator=draw) for _ in range(options.frames)]
    model = build("vit-s16", (288, 384), TASKS)
    blocks(model, frames)
    whole(model, frames)
    at_rest(model, options.frames)


if __name__ == "__main__":
    main()
