"""``harness validate``."""

import sys
from dataclasses import asdict
from pathlib import Path

import click


@click.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.option("--strict", is_flag=True, help="Refuse what gives warnings, too.")
@click.option("-f", "--format", "form", type=click.Choice(["table", "md", "json"]), default="table", show_default=True)
@click.option("--summary", type=click.Path(path_type=Path), help="Append Markdown to a file, as a job's summary.")
def validate(results: Path, strict: bool, form: str, summary: Path | None) -> int:
    """Check the records below RESULTS before they enter a leaderboard; exit 1 if one is to be refused.

    Checked are schema, status, names, protocol, provenance, impossible values, digests and sizes of the files beside a
    record, its metrics against the per-image values, duplicates, and gains against their references.
    """
    from harness.files import writing_to
    from harness.leaderboard import validate as validation
    from harness.report.text import printable, to_json

    findings, records = validation.validate(results)
    text = validation.to_markdown(findings, records)
    if summary is not None:
        with writing_to(f"--summary {summary}"), summary.open("a", encoding="utf-8") as file:
            file.write(text)
    if form == "json":
        click.echo(to_json({"records": records, "findings": [asdict(one) for one in findings]}, ascii_only=True))
    elif form == "md":
        click.echo(text, nl=False)
    else:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False)
        for name in ("record", "check", "", "found"):
            table.add_column(name, overflow="fold")
        for one in findings:
            style = "red" if one.level == "error" else "yellow"
            texts = (one.place, one.check, one.level, printable(one.text))
            table.add_row(*(Text(printable(part), style=style if part == one.level else "") for part in texts))
        if findings:
            Console(width=None if sys.stdout.isatty() else 200).print(table)
        click.echo(validation.summary(findings, records))
    return int(any(one.level == "error" or strict for one in findings))
