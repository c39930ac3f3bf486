"""Attributes of a class read from its source, without an import of what it computes with.

A method says its name, its summary and its options in a class whose module imports torch, which takes seconds. Here the
source is parsed, the class is found with its bases, and the expressions alone that an attribute needs are evaluated.
"""

import ast
import builtins
import functools
import importlib
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

_OWN = ("harness.methods", "harness.baselines", "harness.datasets")
"""Packages of plug-ins whose modules are parsed; all else of this project is imported."""

_PLAIN = ("abc", "typing", "builtins", "enum")
"""Modules whose classes, as bases, have no attribute that is asked for."""


class UnreadableError(Exception):
    """The source alone does not say what was asked for; the module has to be imported."""


class Outline:
    """A class by its source.

    Args:
        target: ``module:Class``, as entry points name it.

    Raises:
        UnreadableError: its source or one of its bases cannot be found.
    """

    def __init__(self, target: str) -> None:
        module, _, name = target.partition(":")
        self.name = name
        self._stub = _stub(module, name)

    def value(self, attribute: str) -> Any:
        """Return an attribute of the class, or what a property of an object made without arguments returns.

        Raises:
            UnreadableError: the class has none, or it follows from something that only an import makes.
        """
        if attribute == "__module__":
            return self._stub.__module__
        if not hasattr(self._stub, attribute):
            raise UnreadableError(f"{self.name} has no {attribute}")
        module, node = getattr(self._stub, attribute)
        try:
            if isinstance(node, ast.FunctionDef):
                made = _run(module, node, bodies=True)[node.name]
                call = made.fget if isinstance(made, property) else made
                return call(_Itself(self)) if call is not None else None
            wanted = {name: _evaluated(module, name) for name in _needs(node) if name not in vars(builtins)}
            return eval(compile(ast.Expression(node), module, "eval"), wanted)  # noqa: S307 - a plug-in is code by design
        except UnreadableError:
            raise
        except Exception as error:  # whatever a piece of a module raises that is run by itself
            raise UnreadableError(f"{self.name}.{attribute}: {error}") from error


class _Itself:
    """Object whose attributes are those of an outline, in the place of ``self``."""

    def __init__(self, outline: Outline) -> None:
        self._outline = outline

    def __getattr__(self, name: str) -> Any:
        return self._outline.value(name)


@functools.cache
def _stub(module: str, name: str) -> type:
    """Return a class with the bases of another, so that Python orders them, and nodes in the place of its values."""
    node = _binding(module, name)
    if isinstance(node, ast.ImportFrom):
        return _stub(*_origin(module, node, name))
    if not isinstance(node, ast.ClassDef):
        raise UnreadableError(f"{module}.{name} is no class")
    found: dict[str, Any] = {}
    for part in node.body:
        if isinstance(part, ast.FunctionDef):
            found[part.name] = module, part
        elif isinstance(part, ast.Assign | ast.AnnAssign) and part.value is not None:
            for target in part.targets if isinstance(part, ast.Assign) else [part.target]:
                if isinstance(target, ast.Name):
                    found[target.id] = module, part.value
    bases = []
    for base in node.bases:
        if not isinstance(base, ast.Name):
            continue  # Generic[...] and the like have no values
        origin = _binding(module, base.id)
        if isinstance(origin, ast.ImportFrom) and (origin.module or "").partition(".")[0] in _PLAIN:
            continue
        bases.append(_stub(module, base.id))
    found = {key: value for key, value in found.items() if not key.startswith("__")}
    return type(name, tuple(bases), found | {"__module__": module})


@functools.cache
def _evaluated(module: str, name: str) -> Any:
    """Return what a name of a module stands for: imported, or made by its own statement alone."""
    node = _binding(module, name)
    if isinstance(node, ast.Import):
        alias = next(alias for alias in node.names if name in (alias.asname, alias.name.partition(".")[0]))
        return importlib.import_module(alias.name if alias.asname else name)
    if isinstance(node, ast.ImportFrom):
        origin, there = _origin(module, node, name)
        if origin.startswith(_OWN) or (module.partition(".")[0] == origin.partition(".")[0] != "harness"):
            return _evaluated(origin, there)
        return getattr(importlib.import_module(origin), there)
    return _run(module, node)[name]


def _run(module: str, node: ast.stmt, bodies: bool = False) -> dict[str, Any]:
    """Run one statement of a module with what it needs, and return its names."""
    own = getattr(node, "name", None)
    needed = [name for name in _needs(node, bodies) if name != own and name not in vars(builtins)]
    names = {name: _evaluated(module, name) for name in needed}
    names["__name__"] = module
    exec(compile(ast.Module([node], []), module, "exec"), names)  # noqa: S102 - a plug-in is code by design
    return names


def _needs(node: ast.AST, bodies: bool = True) -> list[str]:
    """Return the names that a statement reads when it is run, in order; ``bodies``: those inside functions as well."""
    made: set[str] = set()
    read: dict[str, None] = {}
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, ast.Name):
            if isinstance(one.ctx, ast.Load):
                read[one.id] = None
            else:
                made.add(one.id)
        elif isinstance(one, ast.arg):
            made.add(one.arg)
        inner = list(ast.iter_child_nodes(one))
        if isinstance(one, ast.FunctionDef) and not bodies:
            made.add(one.name)
            inner = [*one.decorator_list, one.args, *filter(None, [one.returns])]
        waiting += inner
    return [name for name in read if name not in made]


def _binding(module: str, name: str) -> ast.stmt:
    """Return the statement of a module that gives a name its value."""
    for node in _statements(_tree(module).body):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.asname or alias.name.partition(".")[0] for alias in node.names]
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            names = [node.name]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
        else:
            continue
        if name in names:
            return node
    raise UnreadableError(f"{module} has no {name}")


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a module, those of its conditions too: types are imported for checkers alone."""
    for node in body:
        if isinstance(node, ast.If):
            yield from _statements(node.body)
        else:
            yield node


def _origin(module: str, node: ast.ImportFrom, name: str) -> tuple[str, str]:
    """Return the module and the name that an import takes a name from."""
    there = next(alias.name for alias in node.names if name in (alias.asname, alias.name))
    if node.level:
        parts = module.split(".")
        depth = len(parts) - node.level + _is_package(module)
        return ".".join(filter(None, [*parts[:depth], node.module])), there
    return node.module or "", there


@functools.cache
def _tree(module: str) -> ast.Module:
    file = _spec(module).origin
    try:
        return ast.parse(Path(file or "").read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError) as error:
        raise UnreadableError(f"{module}: {error}") from error


def _is_package(module: str) -> bool:
    return _spec(module).submodule_search_locations is not None


def _spec(module: str) -> ModuleSpec:
    """Find a module without importing it or the packages that it lies in."""
    path: Any = None
    spec: ModuleSpec | None = None
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        name = ".".join(parts[:end])
        held = sys.modules.get(name)
        if held is not None and held.__spec__ is not None:
            spec, path = held.__spec__, getattr(held, "__path__", None)
            continue
        found = (finder.find_spec(name, path) for finder in sys.meta_path if hasattr(finder, "find_spec"))
        spec = next((one for one in found if one is not None), None)
        if spec is None:
            raise UnreadableError(f"no module {name}")
        path = spec.submodule_search_locations
    assert spec is not None
    return spec
