"""Errors a user can mend. Each carries the exit code of the command line."""

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class HarnessError(Exception):
    """Base of every error that is shown as one line, without a traceback.

    The message says what is wrong, where, and how to mend it.
    """

    exit_code = 1


class UsageError(HarnessError):
    """A wrong name, option or input file (exit code 2)."""

    exit_code = 2


class DataError(HarnessError):
    """A data set is missing, incomplete or corrupt (exit code 3)."""

    exit_code = 3


class MethodError(HarnessError):
    """A method failed while building, training, predicting or loading (exit code 4)."""

    exit_code = 4


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the message for an unknown name: the nearest known ones, or all of them."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
    return f"unknown {kind} {name!r}; {hint}"


def described(error: BaseException) -> str:
    """Return the kind of an error and the first line of its text; of `SystemExit`, the call that raises it."""
    if isinstance(error, SystemExit):
        return f"calls sys.exit({error.code!r})"
    text = (str(error).strip().splitlines() or [""])[0][:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def first_fault(error: "ValidationError") -> str:
    """Return the first fault of a validation error as ``field: what is wrong``."""
    fault = error.errors()[0]
    place = ".".join(str(part) for part in fault["loc"])
    return f"{place}: {fault['msg']}" if place else str(fault["msg"])
