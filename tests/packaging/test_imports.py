"""Imports run downward only, and the engine names no plug-in."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

LAYERS = [
    {"errors", "_torchvision", "jit", "metric", "problem", "costs", "state", "weights"},
    {"protocol", "precision", "progress"},
    {"data", "tasks", "backbones", "heads", "boundary", "counting"},
    {"model", "recipe", "artifact", "method", "published"},
    {"records", "registry"},
    {"config"},
    {"evaluation", "training", "probes", "opened", "configured", "pictures", "heatmaps", "predictions", "gallery"},
    {"measurement"},
    {"job", "gain"},
    {"run", "costing", "bench", "score", "predict", "report", "compare"},
    {"leaderboard"},
    {"cli"},
]
"""Rooms from the ground up; a room imports from its own layer and from those below."""

PLUGINS = ("methods", "baselines", "datasets")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith("harness.")}


def room(name: str) -> str:
    return name.split(".")[1]


ENGINE = sorted((ROOT / "harness").rglob("*.py"))


def test_every_room_has_a_layer() -> None:
    rooms = {path.relative_to(ROOT / "harness").parts[0].removesuffix(".py") for path in ENGINE}
    assert rooms - {"__init__", "__main__"} == set().union(*LAYERS)


@pytest.mark.parametrize("path", ENGINE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_engine_imports_downward_and_no_plug_in(path: Path) -> None:
    own = path.relative_to(ROOT / "harness").parts[0].removesuffix(".py")
    if own in ("__init__", "__main__"):
        return
    depth = next(i for i, layer in enumerate(LAYERS) if own in layer)
    for name in imports(path):
        assert room(name) not in PLUGINS, f"{path}: the engine imports the plug-in {name}"
        below = set().union(*LAYERS[: depth + 1])
        assert room(name) in below or room(name) not in set().union(*LAYERS), f"{path}: imports upward: {name}"


@pytest.mark.parametrize("folder", PLUGINS)
def test_plug_ins_do_not_reach_into_the_command_line_or_the_runs(folder: str) -> None:
    above = {"cli", "run", "bench", "compare", "costing", "job", "report", "leaderboard", "gain", "measurement"}
    above |= {"opened", "configured", "evaluation", "score", "predict", "gallery"}
    for path in (ROOT / folder).rglob("*.py"):
        assert not {room(name) for name in imports(path)} & above, path
