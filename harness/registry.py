"""Finds plug-ins: entry points of installed packages, the built-in map, and files given with ``--plugin``."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from harness.data.dataset import Dataset
from harness.errors import UsageError, unknown
from harness.method import Method

Kind = Literal["methods", "datasets"]

BUILT_IN: dict[Kind, dict[str, str]] = {
    "methods": {
        "single-task": "harness.baselines.single_task:SingleTask",
        "multi-task": "harness.baselines.multi_task:MultiTask",
        "share": "harness.methods.share:Share",
        "invpt": "harness.baselines.invpt:InvPT",
        "mtformer": "harness.baselines.mtformer:MTFormer",
        "mti-net": "harness.baselines.mti_net:MTINet",
        "pad-net": "harness.baselines.pad_net:PADNet",
        "cross-stitch": "harness.baselines.cross_stitch:CrossStitch",
        "nddr-cnn": "harness.baselines.nddr_cnn:NDDRCNN",
        "mtan": "harness.baselines.mtan:MTAN",
    },
    "datasets": {
        "nyud": "harness.datasets.nyud:NYUD",
        "pascal-context": "harness.datasets.pascal_context:PascalContext",
        "nyud-synth": "harness.datasets.nyud_synth:NYUDSynth",
        "pascal-synth": "harness.datasets.pascal_synth:PascalSynth",
    },
}
"""The project's own plug-ins, for a clone that was never installed and so has no entry points."""

_BASES: dict[Kind, type] = {"methods": Method, "datasets": Dataset}
_given: dict[Kind, dict[str, type]] = {"methods": {}, "datasets": {}}


def names(kind: Kind) -> list[str]:
    """Return the names of all known plug-ins: the project's own first, in order, then the others, sorted."""
    others = {point.name for point in entry_points(group=f"harness.{kind}")} | set(_given[kind])
    return [*BUILT_IN[kind], *sorted(others - set(BUILT_IN[kind]))]


def load_method(name: str) -> type[Method]:
    """Return the method class called ``name``.

    Raises:
        UsageError: no such method; the message names the nearest ones.
    """
    cls: type[Method] = _load("methods", name)
    return cls


def load_dataset(name: str) -> Dataset:
    """Return the data set called ``name``.

    Raises:
        UsageError: no such data set; the message names the nearest ones.
    """
    dataset: Dataset = _load("datasets", name)()
    return dataset


def load_plugin(source: str) -> list[str]:
    """Import a file or module and register every method and data set class that it defines.

    Args:
        source: Path of a Python file, or an importable module name.

    Returns:
        The names registered, at least one.

    Raises:
        UsageError: it cannot be imported, defines no plug-in, or takes a name that is in use.
    """
    module = _import(source)
    found = []
    for kind, base in _BASES.items():
        for cls in _defined(module, base):
            if cls.name in names(kind) and _given[kind].get(cls.name) is not cls:
                raise UsageError(f"plug-in {source}: the name {cls.name!r} is already taken in {kind}; choose another")
            _given[kind][cls.name] = cls
            found.append(cls.name)
    if not found:
        raise UsageError(
            f"plug-in {source}: defines no method or data set (a subclass of harness.method.Method or "
            f"harness.data.dataset.Dataset with a `name`)"
        )
    return found


def _import(source: str) -> ModuleType:
    path = Path(source)
    try:
        if path.suffix != ".py":
            return importlib.import_module(source)
        if not path.is_file():
            raise UsageError(f"plug-in {source}: no such file")
        name = f"harness_plugin_{path.stem}"
        if name in sys.modules and sys.modules[name].__file__ == str(path.resolve()):
            return sys.modules[name]
        spec = importlib.util.spec_from_file_location(name, path.resolve())
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # before execution, so that its classes can be pickled
        spec.loader.exec_module(module)
    except UsageError:
        raise
    except Exception as error:  # whatever a user's file raises is shown as one line
        raise UsageError(f"plug-in {source}: {type(error).__name__}: {error}") from error
    return module


def _defined(module: ModuleType, base: type) -> Iterable[Any]:
    for _, cls in inspect.getmembers(module, inspect.isclass):
        own = cls.__module__ == module.__name__
        if own and issubclass(cls, base) and not inspect.isabstract(cls) and hasattr(cls, "name"):
            yield cls


def _load(kind: Kind, name: str) -> Any:
    if name in _given[kind]:
        return _given[kind][name]
    targets = {point.name: point.value for point in entry_points(group=f"harness.{kind}")} | BUILT_IN[kind]
    if name not in targets:
        raise UsageError(unknown(kind.rstrip("s"), name, names(kind)))
    module, _, attribute = targets[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
