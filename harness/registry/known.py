"""Names of plug-ins: those of this project, of installed packages, and of files given with ``--plugin``."""

import functools
import sys
import tomllib
from importlib.metadata import EntryPoints, entry_points
from pathlib import Path
from typing import Literal

Kind = Literal["methods", "datasets"]

DISTRIBUTION = "mtl-harness"
GIVEN: dict[Kind, dict[str, type]] = {"methods": {}, "datasets": {}}
"""Classes of files and modules that ``--plugin`` named."""


def built_in(kind: Kind) -> dict[str, str]:
    """Return the project's own plug-ins, name to ``module:class``: the entry points that pyproject.toml lists.

    A source checkout is read directly, for it may never have been installed, or before the last of them was added.
    """
    file = Path(__file__).resolve().parents[2] / "pyproject.toml"
    if file.is_file():
        return _listed(file)[f"harness.{kind}"]
    points = _installed(kind, tuple(sys.path))
    return {point.name: point.value for point in points if point.dist and point.dist.name == DISTRIBUTION}


@functools.cache
def _installed(kind: Kind, path: tuple[str, ...]) -> EntryPoints:
    """Return the entry points of a kind; every installed package is looked at, which takes a while."""
    return entry_points(group=f"harness.{kind}")


@functools.cache
def _listed(file: Path) -> dict[str, dict[str, str]]:
    with file.open("rb") as opened:
        groups: dict[str, dict[str, str]] = tomllib.load(opened)["project"]["entry-points"]
    return groups


def targets(kind: Kind) -> dict[str, str]:
    """Return all installed plug-ins, name to ``module:class``; the project's own names are nobody else's."""
    return {point.name: point.value for point in _installed(kind, tuple(sys.path))} | built_in(kind)


def names(kind: Kind) -> list[str]:
    """Return the names of all known plug-ins: the project's own first, then the others, each sorted."""
    own = built_in(kind)
    return [*sorted(own), *sorted((targets(kind).keys() | GIVEN[kind].keys()) - own.keys())]
