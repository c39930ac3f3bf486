"""Source of plug-ins: the files that one is made of, and their digest."""

import ast
import functools
import sys
from collections.abc import Iterator
from pathlib import Path

from harness.data.dataset import Dataset
from harness.files import digest, sha256_of
from harness.method import Method


@functools.cache
def source_digest(cls: type) -> str:
    """Return the sha256 of the source of a plug-in: what it computes may change when this does.

    Counted are the file of the class, those of the plug-ins it inherits from, and the modules of the same folder or
    package that these import, directly or through each other, also inside functions. Files of another kind and modules
    whose names are computed are not seen.

    Args:
        cls: A method or data set. Its source is read once: an edited plug-in is another class once it is imported.
    """
    bases = (Method, Dataset)
    files: dict[str, str] = {}
    for one in cls.__mro__:
        module = sys.modules.get(one.__module__)
        place = getattr(module, "__file__", None)
        if place is None or one in bases or not issubclass(one, bases):
            continue
        prefix, folder = _package_of(one.__module__, Path(place))
        label = ".".join(prefix)
        files |= {
            f"{label}/{file.relative_to(folder).as_posix()}": sha256_of(file)
            for file in closure(Path(place).resolve(), folder, prefix)
        }
    return digest(files)


def _package_of(module: str, file: Path) -> tuple[tuple[str, ...], Path]:
    """Return the package that a module belongs to, as the parts of its name, and its folder.

    This project's packages of plug-ins (``harness.baselines``) count one by one; a single file is no package's.
    """
    parts = tuple(module.split("."))
    depth = 2 if parts[0] == "harness" else 1
    above = len(parts) - depth - (file.name != "__init__.py")  # folders between the file's and the package's
    return (parts[:depth], file.resolve().parents[above]) if above >= 0 else ((), file.resolve().parent)


def closure(file: Path, folder: Path, prefix: tuple[str, ...]) -> list[Path]:
    """Return a file and all Python files below ``folder`` that it imports, directly or through each other, sorted."""
    found: set[Path] = set()
    waiting = [file]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError, RecursionError, MemoryError, OSError):  # the import will say what is wrong
            continue
        for base, parts in _imports(tree, path, folder, prefix):
            for end in range(len(parts) + 1):
                place = base.joinpath(*parts[:end])
                for candidate in (place.with_suffix(".py"), place / "__init__.py"):
                    if candidate.is_relative_to(folder) and candidate != folder and candidate.is_file():
                        waiting.append(candidate)
    return sorted(found)


def _imports(tree: ast.AST, file: Path, folder: Path, prefix: tuple[str, ...]) -> Iterator[tuple[Path, list[str]]]:
    """Yield where each import of a file may lead: a folder, and the parts of a module's name below it."""
    for node in ast.walk(tree):
        level, targets = 0, []
        if isinstance(node, ast.Import):
            targets = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module.split(".") if node.module else []
            level, targets = node.level, [[*module, alias.name] for alias in node.names]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", None))
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                targets = [node.args[0].value.split(".")]
        for parts in targets:
            if level:
                yield file.parents[level - 1], parts
                continue
            if prefix and tuple(parts[: len(prefix)]) == prefix:
                yield folder, parts[len(prefix) :]
            elif parts[0] != "harness":
                yield file.parent, parts  # a folder may have been put on the path
                yield folder, parts
