"""``harness data``: inspect, check, fetch, prepare and render data sets."""

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from harness import registry
from harness.cli.completion import complete
from harness.data import Split
from harness.errors import DataError, UsageError, counted

if TYPE_CHECKING:
    from harness.data.dataset import Dataset

_FOLDER = click.Path(path_type=Path)

_name = click.argument("name", metavar="DATASET", shell_complete=complete("datasets"))
_data_root = click.option(
    "--data-root", type=_FOLDER, metavar="DIR", help="Folder of the data set, or one that contains it."
)
_plugin = click.option(
    "--plugin",
    multiple=True,
    expose_value=False,
    callback=lambda _, __, sources: [registry.load_plugin(source) for source in sources],
    help="Python file or module that defines data sets.",
)
_format = click.option(
    "-f", "--format", "style", type=click.Choice(["table", "json"]), default="table", show_default=True
)


_LINKS = {"alive": "link", "unknown": "link, not tried lately", "dead": "dead link"}
"""States of links in words."""


class _Size(click.ParamType[tuple[int, int]]):
    """Height x width as a value of an option."""

    name = "HxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        height, _, width = str(value).partition("x")
        if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
            self.fail(f"{value!r} is no size; write height x width, for example 106x140", param, ctx)
        return int(height), int(width)


@click.group()
def data() -> None:
    """Inspect, check, fetch, prepare or render data sets."""


@data.command()
@_name
@_data_root
@_plugin
@_format
def info(name: str, data_root: Path | None, style: str) -> None:
    """Show a data set's card and what is found on this machine."""
    dataset = registry.load_dataset(name)
    found = _found(dataset, data_root)
    card = dataset.card.model_dump(mode="json")
    if style == "json":
        click.echo(json.dumps({"card": card, "found": found}, indent=2))
        return
    for key in ("title", "description", "paper", "source", "terms"):
        click.echo(f"{key}: {card[key]}")
    click.echo("tasks: " + ", ".join(f"{t} ({len(c)} classes)" if c else t for t, c in card["tasks"].items()))
    for archive in card["archives"]:
        click.echo(f"archive: {archive['file']} (build {archive['build']})")
        for link in sorted(archive["links"], key=lambda link: link["state"] == "dead"):
            click.echo(f"  {_LINKS[link['state']]}: {link['url']}")
    if "missing" in found:
        click.echo(f"found: no folder. {found['missing']}")
        return
    click.echo(f"found: {found['root']}")
    if found["archive"]:
        click.echo(f"unpacked from: {found['archive'].get('file')}, sha256 {found['archive'].get('sha256')}")
    for split, facts in found["splits"].items():
        if "problem" in facts:
            click.echo(f"{split}: {facts['problem']}")
            continue
        sizes = ", ".join(f"{size} ({count})" for size, count in list(facts["sizes"].items())[:5])
        more = f" and {len(facts['sizes']) - 5} more" if len(facts["sizes"]) > 5 else ""
        click.echo(f"{split}: build {facts['build']}, {facts['count']} images; sizes {sizes}{more}")
    _echo_tasks(found["tasks"])


def _found(dataset: "Dataset", data_root: Path | None) -> dict[str, Any]:
    """Return what is there: the folder, per split the build, count and image sizes, and the tasks it can serve."""
    from harness.data.archive import read_note
    from harness.data.dataset import SyntheticDataset
    from harness.data.files import image_size
    from harness.data.locate import places

    if isinstance(dataset, SyntheticDataset) and data_root is None:
        return {"missing": "It is rendered on first use, or by `harness data synth`; nothing is downloaded."}
    try:
        root = dataset.root(data_root)
    except DataError as error:
        if isinstance(dataset, SyntheticDataset):
            return {"missing": str(error)}
        searched = ", ".join(map(str, places(dataset.card, data_root)))
        return {"missing": f"None of these holds {dataset.card.marker}/: {searched}. Name one with --data-root."}
    # A split that cannot be opened does not keep the other one from being shown.
    splits: dict[str, dict[str, Any]] = {}
    for split in get_args(Split):
        try:
            reader = dataset.reader(root, split)
        except DataError as error:
            splits[split] = {"problem": str(error)}
            continue
        sizes: Counter[str] = Counter()
        for image_id in reader.ids:
            try:
                height, width = image_size(reader.files(image_id)["image"])
            except DataError:
                sizes["unreadable"] += 1
            else:
                sizes[f"{height}x{width}"] += 1
        splits[split] = {"build": reader.build, "count": len(reader.ids), "sizes": dict(sizes.most_common())}
    return {"root": str(root), "archive": read_note(root), "splits": splits, "tasks": _tasks(dataset, root)}


def _tasks(dataset: "Dataset", root: Path) -> dict[str, str | None]:
    """Return every task, and why the folder cannot serve it; None where it can."""
    from harness.data.open import absent_tasks

    tasks = [spec.name for spec in dataset.tasks]
    reasons: dict[str, str] = {}
    for split in get_args(Split):
        try:
            reasons |= absent_tasks([dataset.reader(root, split)], tasks)
        except DataError as error:
            reasons |= dict.fromkeys(tasks, str(error))
    return {task: reasons.get(task) for task in tasks}


def _echo_tasks(tasks: dict[str, str | None]) -> None:
    """Print which tasks a folder can serve, and the reasons for the others; nothing where it serves all."""
    served = [task for task, reason in tasks.items() if reason is None]
    if len(served) == len(tasks):
        return
    click.echo(f"tasks that this folder can serve: {', '.join(served) or 'none'}")
    for reason in dict.fromkeys(reason for reason in tasks.values() if reason is not None):
        click.echo(f"not {', '.join(task for task in tasks if tasks[task] == reason)}: {reason}")


@data.command()
@_name
@_data_root
@_plugin
@_format
def verify(name: str, data_root: Path | None, style: str) -> None:
    """Check the lists of a data set and read every file; report all problems."""
    from harness.data.verify import verify as problems_of

    dataset = registry.load_dataset(name)
    root = dataset.root(data_root)
    # Printed as they are found: reading a whole data set takes minutes.
    problems = []
    for problem in problems_of(dataset, root):
        problems.append(problem)
        if style == "table":
            click.echo(problem)
    tasks = _tasks(dataset, root)
    if style == "json":
        click.echo(json.dumps({"root": str(root), "problems": problems, "tasks": tasks}, indent=2))
    elif problems:
        _echo_tasks(tasks)
    if problems:
        raise DataError(f"{root}: {counted(len(problems), 'problem')} found; restore the files from the archive")
    if style == "table":
        click.echo(f"{root}: no problem found")


@data.command()
@_name
@click.option("--data-root", type=_FOLDER, metavar="DIR", help="Folder to contain the data set's folder.")
@click.option("--build", help="Which published build; the default is the card's first.")
@click.option("--archive", type=_FOLDER, metavar="FILE", help="Unpack this archive, which you downloaded.")
@click.option("--accept-terms", is_flag=True, help="You accept the terms that are printed first.")
def fetch(name: str, data_root: Path | None, build: str | None, archive: Path | None, accept_terms: bool) -> None:
    """Download and unpack a data set, or say where to get it."""
    from harness.data.dataset import SyntheticDataset
    from harness.data.fetch import fetch as fetch_archive
    from harness.data.locate import data_home
    from harness.files import expanded

    dataset = registry.load_dataset(name)
    if isinstance(dataset, SyntheticDataset):
        raise UsageError(f"{name} is rendered, not downloaded: use `harness data synth {name} --out DIR`")
    click.echo(f"Terms of {dataset.card.title}: {dataset.card.terms}", err=True)
    if not accept_terms:
        raise UsageError("read the terms above and give --accept-terms to go on")
    home = expanded(data_root, "--data-root") if data_root is not None else data_home()
    root = fetch_archive(dataset.card, home, build=build, archive=archive, say=lambda line: click.echo(line, err=True))
    click.echo(root)


@data.command()
@_name
@_data_root
@_plugin
@_format
def prepare(name: str, data_root: Path | None, style: str) -> None:
    """Decode the labels of both splits into the cache, so that later runs start at once."""
    from harness.data.cache import open_scenes

    dataset = registry.load_dataset(name)
    root = dataset.root(data_root)
    absent = {task: reason for task, reason in _tasks(dataset, root).items() if reason is not None}
    tasks = [task.name for task in dataset.tasks if task.name not in absent]
    if not tasks:
        raise DataError(f"{root}: no task has labels; {next(iter(absent.values()))}")
    for task, reason in absent.items():
        click.echo(f"harness: warning: {task} is not prepared: {reason}", err=True)
    prepared = []
    for split in get_args(Split):
        scenes = open_scenes(dataset, dataset.reader(root, split), tasks)
        facts = {"split": split, "images": len(scenes), "fingerprint": scenes.fingerprint, "file": str(scenes.path)}
        prepared.append(facts)
        if style == "table":
            click.echo("  ".join(map(str, facts.values())))
    if style == "json":
        click.echo(json.dumps(prepared, indent=2))


@data.command()
@_name
@click.option("--out", required=True, type=_FOLDER, metavar="DIR", help="Folder to write; must be empty or new.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--train", type=click.IntRange(min=1), default=96, show_default=True, help="Training scenes.")
@click.option("--val", type=click.IntRange(min=1), default=32, show_default=True, help="Validation scenes.")
@click.option("--size", type=_Size(), default=None, help="Image size; the default is the data set's.")
@click.option("--clips", type=click.IntRange(min=0), default=0, show_default=True, help="Video clips.")
def synth(name: str, out: Path, seed: int, train: int, val: int, size: tuple[int, int] | None, clips: int) -> None:
    """Render a synthetic data set into a folder."""
    from harness.data.dataset import SyntheticDataset
    from harness.progress import progress_bar

    dataset = registry.load_dataset(name)
    if not isinstance(dataset, SyntheticDataset):
        others = " or ".join(f"`{other}`" for other in dataset.card.stand_ins)
        raise UsageError(f"{name} cannot be rendered; it is fetched. Rendered data sets: {others}")
    with progress_bar(f"rendering {name}", train + val) as report:
        dataset.write(
            out, seed=seed, train=train, val=val, size=size, clips=clips, progress=lambda done, _: report(done)
        )
    click.echo(out)
