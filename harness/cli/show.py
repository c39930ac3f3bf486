"""``harness show``."""

from pathlib import Path
from typing import Any

import click

from harness import registry
from harness.backbones import FAMILIES, NAMES, facts
from harness.cli.completion import complete, names
from harness.errors import UsageError, unknown
from harness.files import file_bytes
from harness.tasks import TASK_FACTS

KINDS = ("methods", "datasets", "tasks", "backbones", "protocols")
CARDS = ("method", "dataset", "task", "backbone", "protocol")
"""First keys of what is shown as a card."""


@click.command()
@click.argument("name", shell_complete=complete(*KINDS))
@click.option(
    "-f",
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="A card for people, or JSON; records and artifacts are JSON in any case.",
)
@click.option("--plugin", multiple=True, help="Python file or module that defines methods or data sets.")
def show(name: str, form: str, plugin: tuple[str, ...]) -> None:
    """Show a method, data set, task, backbone or protocol by NAME, or the artifact or record in a folder.

    `record-schema` shows the JSON Schema of records.
    """
    from harness.report.text import to_json

    for source in plugin:
        registry.load_plugin(source)
    found = _describe(name)
    if form == "json" or next(iter(found)) not in CARDS:
        click.echo(to_json(found))
        return
    from harness.cli.cards import print_card

    print_card(found)


def _describe(name: str) -> dict[str, Any]:
    """Return the card of what has a name: files first, then plug-ins, then what is built in."""
    path = Path(name)
    if (path / "artifact.json").is_file():
        return _artifact(path)
    if (path / "record.json").is_file() or path.is_file():
        from harness.records import read_record

        return read_record(path).model_dump(mode="json")
    if name in registry.names("methods"):
        of = registry.described("methods", name)
        return {
            "method": name,
            "summary": of("summary"),
            "paper": of("paper"),
            "reference_of_delta_m": of("is_reference"),
            "backbones": [other for family in of("families") or FAMILIES for other in FAMILIES[family]],
            "default_backbone": dict(of("default_backbone")),
            "defined_in": of("__module__"),
            "options": of("Options").model_json_schema().get("properties", {}),
        }
    if name in registry.names("datasets"):
        of = registry.described("datasets", name)
        return {"dataset": name, "synthetic": of("synthetic"), **of("card").model_dump(mode="json")}
    if name in TASK_FACTS:
        task = TASK_FACTS[name]
        return {
            "task": name,
            "title": task.title,
            "metric": task.headline_title,
            "better": "higher" if task.higher_is_better else "lower",
            "loss_weight": task.weight,
        }
    from harness.protocol import PROFILES, Protocol

    if name in PROFILES:
        fields = Protocol.model_fields
        values = Protocol.profile(name).model_dump(mode="json")
        options = {key: {"value": values[key], "description": field.description} for key, field in fields.items()}
        return {"protocol": name, "differs_from_invpt_in": sorted(PROFILES[name]), "options": options}
    if name in NAMES:
        return {"backbone": name, **facts(name)}
    if name == "record-schema":
        from harness.records import Record

        return Record.model_json_schema()
    known = [other for kind in KINDS for other in names(kind)]
    raise UsageError(unknown("name", name, known))


def _artifact(path: Path) -> dict[str, Any]:
    """Return the card of an artifact, whose method adds facts of its own."""
    from harness.method import accounting_of
    from harness.run.configure import method_of
    from harness.weights.artifact import read_manifest

    manifest = read_manifest(path)
    for named in manifest.problem().names:
        if named not in TASK_FACTS:
            raise UsageError(f"artifact {path}: {unknown('task', named, TASK_FACTS)}")
    described = accounting_of(method_of(manifest, path)).describe(path)
    return {"artifact": str(path), **manifest.model_dump(mode="json"), **described, "bytes": file_bytes(path)}
