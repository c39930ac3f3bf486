"""``harness stream``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from harness.cli.completion import complete
from harness.cli.options import parse_options, said
from harness.compute import PRECISIONS, Compute, pick_device
from harness.errors import UsageError, unknown
from harness.files import check_writable
from harness.stream.policy import Heads, Mode

if TYPE_CHECKING:
    from harness.records.stream import StreamRecord

_POLICY = ("mode", "rows", "threshold", "keyframes", "heads", "select", "cut_layer", "rows_of")


@click.command()
@click.argument("artifact", type=click.Path(path_type=Path))
@click.argument("source")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder of the results.  [default: stream]")
@click.option("-t", "--task", multiple=True, shell_complete=complete("tasks"), help="Task; default all; repeatable.")
@click.option(
    "--mode", type=click.Choice(get_args(Mode)), help="Gated, per frame, or copied.  [default: the method's own]"
)
@click.option("--rows", type=float, help="Fraction of active tokens on every frame (top-k).")
@click.option("--threshold", type=float, help="Change from which on a token is active.  [default: 0.1]")
@click.option("--keyframes", help="first, adaptive, period:K or period:K:stagger.  [default: adaptive]")
@click.option(
    "--heads", type=click.Choice(get_args(Heads)), help="Dense, gated, or by the active tokens.  [default: auto]"
)
@click.option("--set", multiple=True, metavar="KEY=VALUE", help="Any other setting of the stream.")
@click.option("--every", type=int, help="Take every n-th frame.  [default: 1]")
@click.option("--max-frames", type=int, help="Stop after so many frames.")
@click.option("--fps", type=float, help="Rate of the frames and of the deadline.  [default: the source's]")
@click.option("--realtime", is_flag=True, default=None, help="Drop frames that come while the model is busy.")
@click.option("--against", type=click.Choice(["dense"]), help="Measure the error against dense runs of every frame.")
@click.option("--format", type=click.Choice(["mp4", "sheet", "none"]), help="Overlay video, contact sheet, neither.")
@click.option("--device", help="cpu, cuda, cuda:1 ...  [default: a GPU when there is one]")
@click.option("--precision", type=click.Choice(PRECISIONS), help="Arithmetic.  [default: fp32]")
@click.option("--plugin", multiple=True, help="Python file or module that defines the method.")
@click.option("-f", "style", type=click.Choice(["text", "json"]), default="text", help="json prints the record alone.")
@click.option("-q", "--quiet", is_flag=True, default=None, help="No progress.")
@said()
def stream(style: str, **options: Any) -> int:
    """Stream SOURCE through the model of ARTIFACT: predictions, costs of every frame, and an overlay to look at.

    SOURCE is a folder of images, a video file, camera:0, or a rendered clip such as synth:hand:3. The folder of the
    results gets overlay.mp4, sheet.png, frames.jsonl (a line per frame) and stream.json. ^C finishes them.
    """
    from harness.progress import RunProgress
    from harness.run.api import load
    from harness.stream import StreamPolicy
    from harness.stream.config import StreamConfig
    from harness.stream.play import Player
    from harness.stream.sources import open_source
    from harness.weights.artifact import read_manifest

    given = parse_options(options)
    policy = StreamPolicy.read(
        {**given.pop("set", {}), **{key: given.pop(key) for key in _POLICY if key in given}}, "--"
    )
    config = StreamConfig.read(None, given)
    held = read_manifest(config.artifact).problem().names
    for task in config.task:
        if task not in held:
            raise UsageError(f"{config.artifact}: {unknown('task', task, held)}")
    if config.format == "mp4":
        from harness.data.video import require_av

        require_av()  # before the model is loaded, not at the first frame
    check_writable("-o", config.output)
    source = open_source(config.source, config.max_frames)
    compute = Compute(pick_device(config.device), config.precision)
    compute.set_switches()
    model = compute.place(load(config.artifact, tasks=config.task or None, device=None, plugin=config.plugin)).eval()
    with RunProgress(config.quiet).bar(f"stream {config.source}", source.count or 0, unit="frame") as report:
        line = _Line(quiet=config.quiet)

        def tell(done: int, text: str) -> None:
            report(done)
            line(done, text)

        player = Player(model, source, config, policy, read_manifest(config.artifact), compute, tell)
        record = player.play()
    click.echo(record.model_dump_json(indent=1) if style == "json" else _summary(record, config.output))
    return 0


class _Line:
    """A log line now and then, where stderr is no terminal."""

    def __init__(self, quiet: bool) -> None:
        self.silent = quiet or sys.stderr.isatty()

    def __call__(self, done: int, text: str) -> None:
        """Print the line of frames 1, 10, 100, 200 ..."""
        if not self.silent and (done in (1, 10) or done % 100 == 0):
            click.echo(f"harness: {text}", err=True)


def _summary(record: "StreamRecord", output: Path) -> str:
    """Return a few lines on a stream: p99 and the worst frame stand beside the mean."""
    lines = [
        f"{record.source}: {record.frames} frames, {record.frames_dropped} dropped; full: {record.full_frames or 0}"
    ]
    times = record.times
    for name, found in (("all", times.all), ("full", times.full), ("partial", times.partial)) if times else ():
        if found:
            lines.append(
                f"{name:8}{found.frames:6} frames  mean {found.mean_ms:.1f}  p50 {found.p50_ms:.1f}  "
                f"p95 {found.p95_ms:.1f}  p99 {found.p99_ms:.1f}  worst {found.worst_ms:.1f} ms"
            )
    if record.macs and record.macs.mean:
        partial = f", partial frames {record.macs.partial / 1e9:.4g}" if record.macs.partial is not None else ""
        dense = f", dense {record.macs.dense / 1e9:.4g}" if record.macs.dense else ""
        lines.append(f"GMACs per frame {record.macs.mean / 1e9:.4g} (first included){partial}{dense}")
    if record.off_dense:
        errors = (f"{task} {metric.value:.4g} {metric.unit}" for task, metric in record.off_dense.items())
        lines.append("off dense: " + ", ".join(errors))
    lines.append(f"state {(record.state_bytes or 0) / 1e6:.1f} MB")
    return "\n".join([*lines, str(output)])
