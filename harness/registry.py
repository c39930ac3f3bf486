"""Plug-ins by name: entry points of installed packages, those of this project, and files given with ``--plugin``."""

import ast
import functools
import importlib
import importlib.util
import inspect
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

from pydantic import BaseModel

from harness.backbones import FAMILIES
from harness.backbones import NAMES as BACKBONES
from harness.data.dataset import Dataset
from harness.errors import UsageError, described, unknown
from harness.files import digest, sha256_of
from harness.method import Accounting, Method
from harness.method.optional import OF_ACCOUNTING
from harness.recipe import Budget
from harness.tasks import register
from harness.tasks.base import Task

Kind = Literal["methods", "datasets"]

DISTRIBUTION = "mtl-harness"
_BASES: dict[Kind, Any] = {"methods": Method, "datasets": Dataset}
_given: dict[Kind, dict[str, type]] = {"methods": {}, "datasets": {}}
_places: dict[type, str | None] = {}
"""Class to the file it was given in: an edited file may give its names again, another file may not."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
"""Names stand in the names of folders: no separators, no leading dot, no more than a file system takes."""


def built_in(kind: Kind) -> dict[str, str]:
    """Return the project's own plug-ins, name to ``module:class``: the entry points that pyproject.toml lists.

    A source checkout is read directly, for it may never have been installed, or before the last of them was added.
    """
    file = Path(__file__).resolve().parent.parent / "pyproject.toml"
    if file.is_file():
        return _listed(file)[f"harness.{kind}"]
    points = entry_points(group=f"harness.{kind}")
    return {point.name: point.value for point in points if point.dist and point.dist.name == DISTRIBUTION}


@functools.cache
def _listed(file: Path) -> dict[str, dict[str, str]]:
    with file.open("rb") as opened:
        groups: dict[str, dict[str, str]] = tomllib.load(opened)["project"]["entry-points"]
    return groups


def names(kind: Kind) -> list[str]:
    """Return the names of all known plug-ins: the project's own first, then the others, each sorted."""
    own = built_in(kind)
    others = {point.name for point in entry_points(group=f"harness.{kind}")} | set(_given[kind])
    return [*sorted(own), *sorted(others - set(own))]


def load_method(name: str) -> type[Method]:
    """Return the method class called ``name``.

    Raises:
        UsageError: no such method, or its module cannot be imported or does not keep the contract; the message for an
            unknown name has the nearest ones.
    """
    cls: type[Method] = _load("methods", name)
    return cls


def load_dataset(name: str) -> Dataset:
    """Return the data set called ``name``.

    Raises:
        UsageError: no such data set, or its module cannot be imported or does not keep the contract; the message for
            an unknown name has the nearest ones.
    """
    cls = _load("datasets", name)
    try:
        dataset: Dataset = cls()
    except UsageError:
        raise
    except (Exception, SystemExit) as error:  # whatever a plug-in raises is shown as one line
        raise UsageError(f"data set {name}: cannot be set up ({described(error)})") from error
    return dataset


def load_plugin(source: str) -> list[str]:
    """Import a file or module and register every method, data set, task and probe that it defines.

    A file that has changed since it was imported is imported again, with the modules next to it that it imports.

    Args:
        source: Path of a Python file, or an importable module name.

    Returns:
        The names registered, at least one.

    Raises:
        UsageError: it cannot be imported, defines no plug-in, does not keep the contract, or takes a name in use.
    """
    try:
        module = _import(source)
        classes = [
            (kind, cls)
            for kind, base in _BASES.items()
            for _, cls in inspect.getmembers(module, inspect.isclass)
            if cls.__module__ == module.__name__ and _derived(cls, base) and hasattr(cls, "name")
        ]
        complete = [(kind, cls) for kind, cls in classes if not inspect.isabstract(cls)]
        for kind, cls in complete:
            _check(kind, cls)
    except UsageError as error:
        raise UsageError(f"plug-in {source}: {error}") from error
    except (Exception, SystemExit) as error:  # whatever a user's file raises is shown as one line
        raise UsageError(f"plug-in {source}: {described(error)}") from error
    for kind, cls in complete:
        registered = _given[kind].get(cls.name)
        same = registered is cls or (registered is not None and _places.get(registered) == module.__file__)
        if cls.name in names(kind) and not same:
            raise UsageError(f"plug-in {source}: the name {cls.name!r} is already taken in {kind}; choose another")
        _given[kind][cls.name] = cls
        _places[cls] = module.__file__
    own = [cls for _, cls in inspect.getmembers(module, inspect.isclass) if cls.__module__ == module.__name__]
    named = [one for one in own if _derived(one, Task) and hasattr(one, "name")]
    tasks: list[Any] = [one for one in named if not inspect.isabstract(one)]
    for task in tasks:
        try:
            register(task)
        except UsageError as error:
            raise UsageError(f"plug-in {source}: {error}") from error
    # Probes register themselves when they are made; this file lies below them and knows them by their mark alone.
    objects = [one for one in vars(module).values() if not inspect.isclass(one)]
    probes = [one.name for one in objects if getattr(one, "is_probe", False) is True]
    if not complete and not probes and not tasks:
        lacking = {cls.__name__: ", ".join(sorted(getattr(cls, "__abstractmethods__", ()))) for _, cls in classes}
        abstract = [f"; {name} lacks {members}" for name, members in lacking.items()]
        raise UsageError(
            f"plug-in {source}: defines no method, data set, task or probe (a subclass of harness.method.Method or "
            f"harness.data.dataset.Dataset with a `name`){''.join(abstract)}"
        )
    return [*(cls.name for _, cls in complete), *(cls.name for cls in tasks), *probes]


def _import(source: str) -> ModuleType:
    path = Path(source)
    if path.suffix != ".py":
        return importlib.import_module(source)
    if not path.is_file():
        raise UsageError("no such file")
    path = path.resolve()
    name = f"harness_plugin_{path.stem}"
    files = _closure(path, path.parent, ())
    held = sys.modules.get(name)
    state = digest({str(file): sha256_of(file) for file in files})
    if held is not None and getattr(held, "__harness_source__", None) == state:
        return held
    # Modules next to the file may have changed as well; unchanged ones are imported again without harm.
    for other, module in list(sys.modules.items()):
        if getattr(module, "__file__", None) in {str(file) for file in files}:
            del sys.modules[other]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before execution, so that its classes can be pickled
    try:
        # Compiled here: the cache of byte code takes a file of the same second and size for the same file.
        exec(compile(path.read_bytes(), path, "exec"), module.__dict__)  # noqa: S102 - a plug-in is code by design
    except BaseException:
        del sys.modules[name]
        raise
    module.__dict__["__harness_source__"] = state
    return module


def _load(kind: Kind, name: str) -> Any:
    if name in _given[kind]:
        return _given[kind][name]
    own = built_in(kind)
    targets = {point.name: point.value for point in entry_points(group=f"harness.{kind}")} | own
    if name not in targets:
        raise UsageError(unknown(kind.rstrip("s"), name, names(kind)))
    module, _, attribute = targets[name].partition(":")
    if name in own:
        return getattr(importlib.import_module(module), attribute)
    try:
        cls = getattr(importlib.import_module(module), attribute)
        _check(kind, cls)
    except (Exception, SystemExit) as error:  # whatever an installed package raises is shown as one line
        reason = str(error) if isinstance(error, UsageError) else described(error)
        raise UsageError(f"plug-in {name} ({targets[name]}): {reason}") from error
    return cls


def _check(kind: Kind, cls: Any) -> None:
    """Check what can be checked of a plug-in without running it.

    Raises:
        UsageError: it does not keep the contract; the message says where.
    """
    if not _derived(cls, _BASES[kind]):
        raise UsageError(f"{cls!r} is no subclass of {_BASES[kind].__module__}.{_BASES[kind].__name__}"[:300])
    title = cls.__name__
    if not isinstance(cls.name, str) or not _NAME.fullmatch(cls.name):
        raise UsageError(
            f"{title}.name is {str(cls.name)[:80]!r}; it must be 1 to 64 letters, digits, dots, pluses, hyphens or "
            f"underscores, beginning with a letter or digit, such as 'my-method'"
        )
    if kind == "datasets":
        return
    if not isinstance(getattr(cls, "summary", None), str):
        raise UsageError(f"{title}.summary must be a line of text for `harness ls methods`")
    if not _derived(cls.Options, BaseModel):
        raise UsageError(f"{title}.Options must be a class derived from harness.method.MethodOptions")
    overlooked = [member for member in OF_ACCOUNTING if inspect.isfunction(getattr(cls, member, None))]
    if overlooked:
        raise UsageError(
            f"{title} defines {', '.join(overlooked)}, which belongs to its Accounting (docs/methods.md says how)"
        )
    if not _derived(getattr(cls, "Accounting", Accounting), Accounting):
        raise UsageError(f"{title}.Accounting must be a class derived from harness.method.Accounting")
    strangers = [family for family in cls.families if family not in FAMILIES]
    if isinstance(cls.families, str) or strangers:
        raise UsageError(f"{title}.families must be a tuple of {', '.join(FAMILIES)}")
    for budget in get_args(Budget):
        if budget != "medium" and cls.default_backbone.get(budget) not in BACKBONES:
            raise UsageError(f"{title}.default_backbone must name a backbone for the budget {budget!r}")


def _derived(cls: Any, base: type) -> bool:
    return inspect.isclass(cls) and issubclass(cls, base)


@functools.cache
def source_digest(cls: type) -> str:
    """Return the sha256 of the source of a plug-in: what it computes may change when this does.

    Counted are the file of the class, those of the plug-ins it inherits from, and the modules of the same folder or
    package that these import, directly or through each other, also inside functions. Files of another kind and modules
    whose names are computed are not seen.

    Args:
        cls: A method or data set. Its source is read once: an edited plug-in is another class once it is imported.
    """
    bases = tuple(_BASES.values())
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
            for file in _closure(Path(place).resolve(), folder, prefix)
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


def _closure(file: Path, folder: Path, prefix: tuple[str, ...]) -> list[Path]:
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
