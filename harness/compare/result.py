"""Result of a comparison, as it is printed in JSON."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, computed_field

Verdict = Literal["same", "within", "improved", "gained", "regressed", "lost", "incomparable"]
Fate = Literal["compared", "added", "removed", "incomparable"]
Kind = Literal["metrics", "macs", "params", "bytes", "latency"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Slowdown(_Part):
    """Latency of HEAD as a multiple of BASE's, from samples paired round by round."""

    ratio: float
    low: float = Field(description="Lower end of its interval.")
    high: float = Field(description="Upper end of it.")
    reference: str | None = Field(description="run_id in BASE of what both were timed beside; null: each other.")
    base_pairs: int = Field(description="Pairs of rounds behind it in BASE.")
    head_pairs: int = Field(description="Pairs of rounds behind it in HEAD.")


class Loss(_Part):
    """Loss from BASE to HEAD with its interval over images, both scored on the same ones."""

    low: float = Field(description="Lower end of the interval, in the unit of the value; below 0 is a gain.")
    high: float = Field(description="Upper end of it.")
    level: float
    images: int


class Figure(_Part):
    """One value of a row in BASE and in HEAD."""

    key: str = Field(description="For example `metrics.semseg`, `macs.executed`, `latency.batch1`.")
    title: str
    kind: Kind
    unit: str
    decimals: int = Field(description="Digits after the point on the screen; values here are unrounded.")
    base: float | None
    head: float | None
    tolerance: str
    verdict: Verdict
    reason: str | None = Field(default=None, description="Why it is null or not comparable, or what is to be known.")
    slowdown: Slowdown | None = None
    loss: Loss | None = Field(
        default=None,
        exclude_if=lambda loss: loss is None,
        description="Of a metric that is judged by its interval; absent elsewhere.",
    )

    @property
    def unanswered(self) -> bool:
        """Whether HEAD has nothing to hold against an exact value of BASE."""
        return self.verdict == "incomparable" and self.kind != "latency"


class Row(_Part):
    """One row of the tables in BASE and in HEAD."""

    label: str
    base: str | None = Field(description="run_id in BASE.")
    head: str | None = Field(description="run_id in HEAD.")
    fate: Fate
    reasons: list[str] = Field(default=[], description="Why the two cannot be compared.")
    figures: list[Figure] = []

    @property
    def unanswered(self) -> bool:
        """Whether HEAD has nothing to hold against a row of BASE."""
        return self.fate in ("removed", "incomparable")


class Comparison(_Part):
    """All rows of BASE and HEAD."""

    schema_version: Literal[1] = 1
    allow_removed: bool = Field(description="Whether BASE may have what HEAD cannot be held against.")
    latency_test: dict[str, Any] = Field(description="How latencies are judged.")
    notes: list[str] = Field(default=[], description="What is to be known of the comparison.")
    rows: list[Row]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def failures(self) -> list[str]:
        """Failures of the gate, a line each."""
        lines = []
        for row in self.rows:
            if self.fails(row):
                lines.append(f"{row.label}: {': '.join([FATES[row.fate], *row.reasons])}")
            lines += [
                f"{row.label}: {figure.title} {VERDICTS[figure.verdict]}"
                for figure in row.figures
                if self.fails(figure)
            ]
        if not self.allow_removed and not any(row.figures for row in self.rows):
            lines.append("nothing was compared: no value is held by both")
        return lines

    @computed_field  # type: ignore[prop-decorator]
    @property
    def failed(self) -> bool:
        """Whether the gate fails."""
        return bool(self.failures)

    def fails(self, part: Row | Figure) -> bool:
        """Return whether a row as a whole, or a value, fails the gate."""
        worse = isinstance(part, Figure) and part.verdict in ("regressed", "lost")
        return worse or (part.unanswered and not self.allow_removed)

    def to_json(self) -> str:
        """Return the comparison as JSON; ``failed`` is what the exit code says."""
        return self.model_dump_json(indent=1)


VERDICTS: dict[Verdict, str] = {
    "same": "same",
    "within": "within tolerance",
    "improved": "improved",
    "gained": "gained",
    "regressed": "regressed",
    "lost": "lost",
    "incomparable": "not comparable",
}
"""Verdict to how it is said."""

FATES: dict[Fate, str] = {
    "compared": "compared",
    "added": "added",
    "removed": "removed",
    "incomparable": "not comparable",
}
"""What became of a row to how it is said."""
