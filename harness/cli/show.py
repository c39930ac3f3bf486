"""``harness show``."""

from pathlib import Path
from typing import Any

import click

from harness import registry
from harness.backbones import FAMILIES, NAMES, facts
from harness.cli.completion import names
from harness.errors import UsageError, unknown
from harness.method import accounting_of
from harness.probes.storage import file_bytes
from harness.records import RECORD_NAME, Record, read_record
from harness.report.text import to_json
from harness.run.configure import method_of
from harness.tasks import TASKS
from harness.weights.artifact import read_manifest


@click.command()
@click.argument("name")
@click.option("--plugin", multiple=True, help="Python file or module that defines methods or data sets.")
def show(name: str, plugin: tuple[str, ...]) -> None:
    """Show a method, data set, task or backbone by NAME, or the artifact or record in a folder, as JSON.

    `record-schema` shows the JSON Schema of records.
    """
    for source in plugin:
        registry.load_plugin(source)
    click.echo(to_json(_describe(name)))


def _describe(name: str) -> dict[str, Any]:
    """Return the card of what has a name: files first, then plug-ins, then what is built in."""
    path = Path(name)
    if (path / "artifact.json").is_file():
        manifest = read_manifest(path)
        for named in manifest.problem().names:
            if named not in TASKS:
                raise UsageError(f"artifact {path}: {unknown('task', named, TASKS)}")
        described = accounting_of(method_of(manifest, path)).describe(path)
        return {"artifact": str(path), **manifest.model_dump(mode="json"), **described, "bytes": file_bytes(path)}
    if (path / RECORD_NAME).is_file() or path.is_file():
        return read_record(path).model_dump(mode="json")
    if name in registry.names("methods"):
        cls = registry.load_method(name)
        return {
            "method": name,
            "summary": cls.summary,
            "paper": cls.paper,
            "reference_of_delta_m": cls.is_reference,
            "backbones": [other for family in cls.families or FAMILIES for other in FAMILIES[family]],
            "default_backbone": dict(cls.default_backbone),
            "defined_in": cls.__module__,
            "options": cls.Options.model_json_schema().get("properties", {}),
        }
    if name in registry.names("datasets"):
        dataset = registry.load_dataset(name)
        return {"dataset": name, "synthetic": dataset.synthetic, **dataset.card.model_dump(mode="json")}
    if name in TASKS:
        task = TASKS[name]
        return {
            "task": name,
            "description": task.__doc__,
            "metric": task.headline_title,
            "loss_weight": task.weight,
        }
    if name in NAMES:
        return {"backbone": name, **facts(name)}
    if name == "record-schema":
        return Record.model_json_schema()
    known = [other for kind in ("methods", "datasets", "tasks", "backbones") for other in names(kind)]
    raise UsageError(unknown("name", name, known))
