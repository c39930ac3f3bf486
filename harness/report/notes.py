"""Notes below a table: one line per reason, with the methods it concerns."""

import re
from collections.abc import Sequence

_NUMBER = re.compile(r"(?<![\w.+-])\d+(?:\.\d+)?(?![\w+-])")
"""A number that stands for itself: those within names of encoders and runs tell them apart."""


def merged(texts: Sequence[str]) -> list[str]:
    """Return texts, each once; those that differ in their numbers alone become one, with the range of each number."""
    alike: dict[str, list[str]] = {}
    for text in texts:
        alike.setdefault(_NUMBER.sub("#", text), []).append(text)
    return [_ranges(found) for found in alike.values()]


class Notes:
    """Collects reasons and says each of them once.

    Reasons that differ in their numbers alone are one reason, with the range of the numbers.

    Args:
        labels: Rows of the table. A reason that concerns all of them names none.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = list(dict.fromkeys(labels))
        self._told: dict[tuple[str, str], tuple[list[str], list[str]]] = {}

    def add(self, subject: str, reason: str, label: str) -> None:
        """Say why a figure of a row is missing or not to be trusted.

        Args:
            subject: What figure; may be empty.
            reason: Why.
            label: The row.
        """
        texts, labels = self._told.setdefault((subject, _NUMBER.sub("#", reason)), ([], []))
        texts.append(reason)
        labels.append(label)

    def lines(self) -> list[str]:
        """Return the notes in the order in which their reasons came."""
        return [self._line(subject, *told) for (subject, _), told in self._told.items()]

    def _line(self, subject: str, texts: Sequence[str], labels: Sequence[str]) -> str:
        [reason] = merged(texts)
        concerned = list(dict.fromkeys(labels))
        if len(concerned) == len(self.labels):
            return f"{subject}: {reason}" if subject else reason
        names = ", ".join(concerned)
        return f"{subject} of {names}: {reason}" if subject else f"{names}: {reason}"


def _ranges(texts: Sequence[str]) -> str:
    numbers = [_NUMBER.findall(text) for text in texts]
    ranges = iter([_range(place) for place in zip(*numbers, strict=True)])
    return _NUMBER.sub(lambda _: next(ranges), texts[0])


def _range(numbers: Sequence[str]) -> str:
    known = sorted(set(numbers), key=float)
    return f"{known[0]} to {known[-1]}" if len(known) > 2 else " and ".join(known)
