"""Units: how metrics and costs are shown in tables, plots, pages and the gate."""

from collections.abc import Mapping
from dataclasses import dataclass

from harness.records.metric import Unit


@dataclass(frozen=True)
class Shown:
    """The way a quantity is shown.

    Attributes:
        symbol: Behind a value; empty where there is none.
        word: In the names of CSV columns; empty where the value is shown as it is stored.
        factor: From the stored value to the shown one.
        decimals: Digits after the point.
        step: Name of a difference of shown values, for tolerances.
    """

    symbol: str
    word: str
    factor: float
    decimals: int
    step: str = ""

    def text(self, value: float) -> str:
        """Return a stored value as it is shown, without the symbol."""
        return f"{value * self.factor:.{self.decimals}f}"


METRICS: Mapping[Unit, Shown] = {
    "fraction": Shown("%", "percent", 100.0, 2, step="points"),
    "m": Shown("m", "m", 1.0, 4),
    "log m": Shown("log m", "log_m", 1.0, 4),
    "deg": Shown("°", "deg", 1.0, 2),
    "ratio": Shown("", "", 1.0, 4),
}
"""Unit of a metric as records have it to the papers' way to show it."""

METRIC_NAMES: Mapping[str, str] = {"miou": "mIoU", "rmse": "RMSE", "merr": "mErr", "odsf": "odsF", "maxf": "maxF"}
"""Headline metrics to their names in the papers."""

TERA, GIGA, MEGA = 1e-12, 1e-9, 1e-6
"""Factors of MACs to T and G, and of parameters and bytes to M and MB (10^6, as in papers)."""
