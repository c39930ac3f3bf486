"""Imports run downward only, without circles, between few rooms; the engine names no plug-in."""

import ast
import graphlib
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

LAYERS = [
    {"errors", "events", "files", "progress"},
    {"compute", "_torchvision", "jit"},
    {"problem", "protocol", "model", "counting", "boundary"},
    {"records", "weights", "export"},
    {"tasks", "backbones", "heads"},
    {"data"},
    {"recipe", "method", "registry", "config"},
    {"training", "probes", "report", "stream"},
    {"measurement", "predictions", "compare", "leaderboard"},
    {"run"},
    {"bench", "gallery", "launch"},
    {"cli"},
]
"""Rooms from the ground up; a room imports from its own layer and from those below."""

PLUGINS = ("methods", "baselines", "datasets")
MOST_ROOMS, MOST_ARROWS = 41, 262


def modules() -> dict[str, Path]:
    """Map every module of the product to its file."""
    found = {}
    for folder in ("harness", *PLUGINS):
        prefix = "harness" if folder == "harness" else f"harness.{folder}"
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join((prefix, *parts)).removesuffix(".__init__")] = path
    return found


MODULES = modules()


def imports(path: Path) -> set[str]:
    """Return the modules of the product that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in names}
    return {name for name in found if name in MODULES}


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else "__init__"


def arrows() -> dict[str, set[str]]:
    """Return the rooms that each room imports from."""
    found = defaultdict(set)
    for name, path in MODULES.items():
        found[room(name)] |= {room(imported) for imported in imports(path)} - {room(name)}
    return found


ENGINE = sorted((ROOT / "harness").rglob("*.py"))


def test_every_room_has_a_layer() -> None:
    rooms = {path.relative_to(ROOT / "harness").parts[0].removesuffix(".py") for path in ENGINE}
    assert rooms - {"__init__", "__main__"} == set().union(*LAYERS)


def test_rooms_and_arrows_are_few_and_make_no_circle(capsys: pytest.CaptureFixture[str]) -> None:
    found = arrows()
    count = sum(map(len, found.values()))
    with capsys.disabled():
        print(f"\n{len(found)} rooms (at most {MOST_ROOMS}), {count} arrows between them (at most {MOST_ARROWS})")  # noqa: T201
    assert len(found) <= MOST_ROOMS
    assert count <= MOST_ARROWS
    graphlib.TopologicalSorter(found).prepare()  # raises CycleError


@pytest.mark.parametrize("path", ENGINE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_engine_imports_downward_and_no_plug_in(path: Path) -> None:
    own = path.relative_to(ROOT / "harness").parts[0].removesuffix(".py")
    if own in ("__init__", "__main__"):
        return
    depth = next(i for i, layer in enumerate(LAYERS) if own in layer)
    below = set().union(*LAYERS[: depth + 1], {"__init__"})
    for name in imports(path):
        assert room(name) not in PLUGINS, f"{path}: the engine imports the plug-in {name}"
        assert room(name) in below, f"{path}: imports upward: {name}"


@pytest.mark.parametrize("folder", PLUGINS)
def test_plug_ins_do_not_reach_into_the_command_line_or_the_runs(folder: str) -> None:
    above = {"cli", "run", "bench", "compare", "report", "leaderboard", "measurement", "predictions", "gallery"}
    for path in (ROOT / folder).rglob("*.py"):
        assert not {room(name) for name in imports(path)} & above, path


def test_plug_ins_do_not_lean_on_each_other() -> None:
    found = arrows()
    for folder in PLUGINS:
        assert not found[folder] & set(PLUGINS), folder


def test_the_map_shows_the_rooms_on_their_floors() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    drawn = {name: int(floor) for floor, name in re.findall(r"^\| (\d+) \| `(\w+)` \|", page, flags=re.MULTILINE)}
    floors = {name: number for number, layer in enumerate(LAYERS, 1) for name in layer}
    assert drawn == floors


def test_the_map_names_files_that_exist() -> None:
    named = set(re.findall(r"`([\w/.-]+\.(?:py|md|toml|yaml|csv|json))`", (ROOT / "docs/architecture.md").read_text()))
    assert len(named) > 20
    produced = {"record.json", "artifact.json"}  # of a run, not of the checkout
    lost = {
        name for name in named - produced if not (ROOT / name).is_file() and not (ROOT / "harness" / name).is_file()
    }
    assert lost == set()
