"""``harness leaderboard``."""

from pathlib import Path

import click

from harness.cli.places import RESULTS
from harness.tasks import TASK_FACTS


@click.command()
@click.argument(
    "results",
    nargs=-1,
    type=RESULTS,
    metavar="[RESULTS]...",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("site"),
    show_default=True,
    help="Folder of the site: new, empty, or an older site.",
)
@click.option("--published", is_flag=True, help="Add what papers report, in separate tables.")
@click.option("--title", default="Multi-task leaderboard", show_default=True, help="Heading of the site.")
@click.option(
    "-y",
    "--accuracy",
    type=click.Choice(["delta_m", *TASK_FACTS]),
    default="delta_m",
    show_default=True,
    help="What the pictures draw against costs: the gain, or the metric of a task.",
)
@click.option("--ci/--no-ci", default=True, show_default=True, help="Intervals over images, where records have them.")
def leaderboard(results: tuple[Path, ...], output: Path, published: bool, title: str, accuracy: str, ci: bool) -> None:
    """Build static pages of the records in the folders RESULTS: tables, Pareto fronts, a page per record."""
    from dataclasses import replace

    from harness.errors import UsageError
    from harness.files import check_writable, writing_to
    from harness.leaderboard.entries import Entry, read_entries
    from harness.leaderboard.site import check_output, render_site, write_site
    from harness.records.literature import published_records
    from harness.records.load import RECORD_NAME, Stored
    from harness.records.reference import with_gains
    from harness.records.stream import sorted_paths
    from harness.report.intervals import Intervals

    check_output(output)
    if not results and not published:
        raise UsageError("nothing to show; give folders of results, or --published")
    check_writable("-o", output.absolute().parent)  # the site is made next to its place
    stills, streams = sorted_paths(results)
    entries = read_entries(stills) if stills else []
    # Gains are taken again, so that a reference that came later counts.
    renewed = with_gains([entry.record for entry in entries])
    entries = [replace(entry, record=record) for entry, record in zip(entries, renewed, strict=True)]
    entries += [Entry(record) for record in published_records()] if published else []
    stored = [Stored(entry.record, entry.folder / RECORD_NAME) for entry in entries if entry.folder]
    intervals = Intervals(stored) if ci and any(one.record.per_image for one in stored) else None
    with writing_to(f"-o {output}"):
        write_site(render_site(entries, title=title, accuracy=accuracy, intervals=intervals, streams=streams), output)
    click.echo(output / "index.html")
