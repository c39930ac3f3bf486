"""Import of plug-ins by name or from files, and the checks that they keep the contract."""

import importlib
import importlib.util
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

from pydantic import BaseModel

from harness.backbones import FAMILIES
from harness.backbones import NAMES as BACKBONES
from harness.backbones import timm_parts as timm_parts  # before a plug-in imports timm itself
from harness.data.dataset import Dataset
from harness.errors import UsageError, described, unknown
from harness.files import digest, sha256_of
from harness.method import Accounting, Method
from harness.method.optional import OF_ACCOUNTING
from harness.recipe import Budget
from harness.registry.known import GIVEN, Kind, built_in, names, targets
from harness.registry.source import closure
from harness.tasks import register
from harness.tasks.base import Task

_BASES: dict[Kind, Any] = {"methods": Method, "datasets": Dataset}
_places: dict[type, str | None] = {}
"""Class to the file it was given in: an edited file may give its names again, another file may not."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
"""Names stand in the names of folders: no separators, no leading dot, no more than a file system takes."""


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
        registered = GIVEN[kind].get(cls.name)
        same = registered is cls or (registered is not None and _places.get(registered) == module.__file__)
        if cls.name in names(kind) and not same:
            raise UsageError(f"plug-in {source}: the name {cls.name!r} is already taken in {kind}; choose another")
        GIVEN[kind][cls.name] = cls
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
    files = closure(path, path.parent, ())
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
    if name in GIVEN[kind]:
        return GIVEN[kind][name]
    own = built_in(kind)
    known = own if name in own else targets(kind)
    if name not in known:
        raise UsageError(unknown(kind.rstrip("s"), name, names(kind)))
    module, _, attribute = known[name].partition(":")
    if name in own:
        return getattr(importlib.import_module(module), attribute)
    try:
        cls = getattr(importlib.import_module(module), attribute)
        _check(kind, cls)
    except (Exception, SystemExit) as error:  # whatever an installed package raises is shown as one line
        reason = str(error) if isinstance(error, UsageError) else described(error)
        raise UsageError(f"plug-in {name} ({known[name]}): {reason}") from error
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
