"""``harness compare``."""

import sys
from pathlib import Path

import click

from harness.cli.places import RESULTS


@click.command()
@click.argument("base", type=RESULTS)
@click.argument("head", type=RESULTS)
@click.option(
    "--tolerance",
    multiple=True,
    metavar="KIND=AMOUNT,...",
    help="How much worse a value may be: metrics or a task, macs, params, bytes, latency; 0.1, or 5% of BASE; "
    "semseg=0.5@95: only if it is certain at 95 %, over images.  "
    "[default: metrics 0.1 points, 0.001 m, 0.05°; macs, params, bytes 0; latency 5%]",
)
@click.option("--allow-removed", is_flag=True, help="Pass values of BASE that HEAD does not have.")
@click.option("--all", "everything", is_flag=True, help="Show values that are as they were too.")
@click.option("-f", "--format", "form", type=click.Choice(["table", "md", "json"]), default="table", show_default=True)
@click.option("--junit", type=click.Path(path_type=Path), help="Write JUnit XML, a test case per row and value.")
@click.option("--summary", type=click.Path(path_type=Path), help="Append Markdown to a file, as a job's summary.")
def compare(
    base: Path,
    head: Path,
    tolerance: tuple[str, ...],
    allow_removed: bool,
    everything: bool,
    form: str,
    junit: Path | None,
    summary: Path | None,
) -> int:
    """Say what changed from BASE to HEAD; exit 1 if anything got worse.

    BASE and HEAD are results folders, as -o of run and bench names them; or two records, which may be of two methods.
    Accuracy, MACs, parameters and bytes are compared exactly, latencies by a test on paired samples of one machine.
    Streams of clips are compared with streams alone.
    """
    from harness.cli.outcome import write_output
    from harness.compare import Comparison, Tolerances, compare_pair, load, stream_rows, with_streams
    from harness.compare import compare as compare_folders
    from harness.compare.junit import to_junit
    from harness.compare.markdown import to_markdown
    from harness.compare.screen import print_comparison
    from harness.errors import UsageError
    from harness.files import writing_to
    from harness.records.stream import sorted_paths

    tolerances = Tolerances.parse(tolerance)
    for side, path in (("BASE", base), ("HEAD", head)):
        if not path.exists():
            raise UsageError(f"{side} {path}: no such file or folder")
    (stills, streams), (others, other_streams) = sorted_paths([base]), sorted_paths([head])
    comparison: Comparison | None = None
    if stills or others:
        (ours, one), (theirs, other) = load("BASE", base), load("HEAD", head)
        if one and other:
            comparison = compare_pair(ours[0], theirs[0], tolerances, allow_removed)
        else:
            comparison = compare_folders(ours, theirs, tolerances, allow_removed)
    if comparison is None or streams or other_streams:
        comparison = with_streams(comparison, stream_rows(streams, other_streams, tolerances), allow_removed)
    # Files first: a reader of standard output that goes away must not cost a job its report.
    if junit is not None:
        write_output("--junit", junit, to_junit(comparison))
    if summary is not None:
        with writing_to(f"--summary {summary}"), summary.open("a", encoding="utf-8") as file:
            file.write(to_markdown(comparison, everything))
    if form == "json":
        click.echo(comparison.to_json())
    elif form == "md":
        click.echo(to_markdown(comparison, everything), nl=False)
    else:
        from rich.console import Console

        console = Console(width=None if sys.stdout.isatty() else 200)
        print_comparison(comparison, console, everything)
    return int(comparison.failed)
