"""Tolerances: the loss of a value that passes the gate."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from harness.errors import UsageError, unknown
from harness.records.metric import Unit
from harness.tasks import TASK_FACTS

KINDS = ("metrics", "macs", "params", "bytes", "latency")
_ROUNDING = 1e-9
"""Of a tolerance; values that differ by exactly the tolerance in decimals do not in binary."""


@dataclass(frozen=True)
class Tolerance:
    """Loss of a value that is allowed.

    Attributes:
        amount: In the unit of the tables, or a fraction of BASE's figure.
        relative: Whether it is a fraction.
        level: Probability of the interval over images that a loss beyond it is to be certain by; None to judge the
            two values as they are.
    """

    amount: float
    relative: bool = False
    level: float | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the tolerance in ``0.1``, ``5%`` or ``0.1@95``.

        Raises:
            ValueError: it is none, or negative, or not finite, or the level is no percentage of 50 or more below 100.
        """
        number, at, level = (part.strip() for part in text.partition("@"))
        if at and not 50 <= float(level) < 100:
            raise ValueError(text)
        relative = number.endswith("%")
        amount = float(number.removesuffix("%")) / (100 if relative else 1)
        if not (math.isfinite(amount) and amount >= 0):
            raise ValueError(text)
        return cls(amount, relative, float(level) / 100 if at else None)

    def allows(self, worse: float, base: float) -> bool:
        """Return whether a value may be worse than BASE's by ``worse``."""
        return worse <= self.absolute(base) * (1 + _ROUNDING)

    def absolute(self, base: float) -> float:
        """Return the loss that is allowed of BASE's value, in the unit of the tables."""
        return self.amount * (abs(base) if self.relative else 1.0)

    def __str__(self) -> str:
        amount = f"{100 * self.amount:.12g} %" if self.relative else f"{self.amount:.12g}"
        return amount if self.level is None else f"{amount} at {100 * self.level:.12g} %"


_BY_UNIT: Mapping[Unit, Tolerance] = {
    "fraction": Tolerance(0.1),
    "m": Tolerance(0.001),
    "deg": Tolerance(0.05),
}
"""Of headline values: a tenth of a point, a millimetre, a twentieth of a degree."""

_DEFAULTS = {
    "macs": Tolerance(0.0),
    "params": Tolerance(0.0),
    "bytes": Tolerance(0.0),
    "latency": Tolerance(0.05, relative=True),
}


@dataclass(frozen=True)
class Tolerances:
    """The tolerances of a comparison.

    Attributes:
        given: Kind of value, or a task, to its tolerance; the defaults hold for the others.
    """

    given: Mapping[str, Tolerance]

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Self:
        """Return the tolerances in texts such as ``metrics=0.1,depth=0.005,latency=5%``.

        Raises:
            UsageError: a kind is unknown or named twice, or a tolerance is none.
        """
        given: dict[str, Tolerance] = {}
        for pair in (pair.strip() for text in texts for pair in text.split(",")):
            kind, equals, text = (part.strip() for part in pair.partition("="))
            if not equals:
                raise UsageError(f"--tolerance {pair!r}: expected KIND=AMOUNT, for example metrics=0.1 or latency=5%")
            if kind not in (*KINDS, *TASK_FACTS):
                raise UsageError(f"--tolerance: {unknown('kind of value', kind, [*KINDS, *TASK_FACTS])}")
            if kind in given:
                raise UsageError(f"--tolerance: {kind} is given twice")
            try:
                given[kind] = Tolerance.parse(text)
            except ValueError as error:
                raise UsageError(
                    f"--tolerance {pair!r}: the amount must be 0.1 or 5 %, and not below 0; @95 behind it asks for "
                    "certainty, from 50 to below 100"
                ) from error
            if given[kind].level is not None and kind in ("macs", "params", "bytes", "latency"):
                raise UsageError(f"--tolerance {pair!r}: intervals over images are of metrics and tasks alone")
        if "latency" in given and not given["latency"].relative:
            raise UsageError("--tolerance: latency is judged as a ratio; give it in percent, for example latency=5%")
        return cls(given)

    def of(self, kind: str) -> Tolerance:
        """Return the tolerance of a cost."""
        return self.given.get(kind) or _DEFAULTS[kind]

    def of_task(self, task: str, unit: Unit) -> Tolerance:
        """Return the tolerance of a task's headline value: the task's own, or that of all metrics."""
        return self.given.get(task) or self.given.get("metrics") or _BY_UNIT.get(unit, Tolerance(0.0))
