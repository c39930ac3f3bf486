"""Errors a user can mend, each with the exit code of the command line, and the words they are shown in."""

import difflib
import re
import reprlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class HarnessError(Exception):
    """Base of every error that is shown as one line, without a traceback.

    The message says what is wrong, where, and how to mend it.
    """

    exit_code = 70
    """Of an internal error. Code 1 belongs to the regression gate and to refused submissions alone."""


class UsageError(HarnessError):
    """A wrong name, option or input file (exit code 2)."""

    exit_code = 2


class DataError(HarnessError):
    """A data set is missing, incomplete or corrupt (exit code 3)."""

    exit_code = 3


class MethodError(HarnessError):
    """A method failed while building, training, predicting or loading (exit code 4)."""

    exit_code = 4


class Terminated(KeyboardInterrupt):
    """The system asked the process to end: SIGTERM, SIGHUP or SIGUSR1 (exit code 143)."""

    exit_code = 143


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the message for an unknown name: the nearest known ones, or all of them."""
    known, name = list(known), shortened(name, 80)
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
    """Return the first fault of a validation error as ``field: what is wrong``, in words of this package."""
    fault = error.errors(include_url=False)[0]
    # Parts like "literal['a','b']" are pydantic's names of the branches of a union.
    place = ".".join(shortened(str(part), 60) for part in fault["loc"] if "[" not in str(part))
    kind, text = fault["type"], str(fault["msg"])
    if kind == "missing":
        text = "is missing"
    elif kind == "extra_forbidden":
        text = "there is no such field"
    elif kind == "value_error":
        text = text.removeprefix("Value error, ")
    else:
        text = re.sub(r"^Input should (have|be)\b", r"must \1", text).replace("Assertion failed, ", "")
        if isinstance(fault["input"], str | int | float) and not isinstance(fault["input"], bool):
            text += f", not {shown(fault['input'])}"
    return f"{place}: {shortened(text, 300)}" if place else shortened(text, 300)


def shown(value: object) -> str:
    """Return a value as Python writes it, cut short: files and users may give values of any size.

    >>> shown(["a"] * 1000)
    "['a', 'a', 'a', 'a', ...]"
    """
    short = reprlib.Repr()
    short.maxlist = short.maxtuple = short.maxset = short.maxdict = 4
    short.maxlevel, short.maxstring, short.maxother = 2, 80, 80
    return short.repr(value)


def shortened(text: str, most: int = 200) -> str:
    """Return a text on one line, cut short.

    >>> shortened("one   two three", 8)
    'one two…'
    """
    line = " ".join(text[: 4 * most].split())
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"


def counted(count: int, noun: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "thread"), counted(8, "pair of rounds"), counted(0, "entry")
    ('1 thread', '8 pairs of rounds', '0 entries')
    """
    if count == 1:
        return f"1 {noun}"
    first, *rest = noun.split(" ")
    plural = f"{first[:-1]}ies" if first.endswith("y") and first[-2:-1] not in "aeiou" else f"{first}s"
    return " ".join([str(count), plural, *rest])
