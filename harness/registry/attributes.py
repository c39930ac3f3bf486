"""Plug-ins as lists and cards show them, without an import of what computes wherever their source says it."""

import contextlib
from collections.abc import Callable
from typing import Any

from harness.errors import UsageError, unknown
from harness.registry.known import GIVEN, Kind, names, targets
from harness.registry.outline import Outline, UnreadableError

Attributes = Callable[[str], Any]
"""Attribute of a plug-in by its name."""


def described(kind: Kind, name: str) -> Attributes:
    """Return the attributes of a plug-in: of a method, those of its class; of a data set, those of an object.

    They are read from its source. Where that does not say them, or the plug-in was imported already, they are those of
    the imported class.

    Raises:
        UsageError: there is no such plug-in; so does reading an attribute where its module cannot be imported.
    """
    if name not in names(kind):
        raise UsageError(unknown(kind.rstrip("s"), name, names(kind)))
    outline: Outline | None = None
    if name not in GIVEN[kind]:
        with contextlib.suppress(UnreadableError):
            outline = Outline(targets(kind)[name])
    return lambda attribute: _read(kind, name, outline, attribute)


def _read(kind: Kind, name: str, outline: Outline | None, attribute: str) -> Any:
    if outline is not None:
        with contextlib.suppress(UnreadableError):
            return outline.value(attribute)
    from harness.registry.load import load_dataset, load_method

    return getattr(load_method(name) if kind == "methods" else load_dataset(name), attribute)
