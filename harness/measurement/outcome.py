"""Outcome of a command: records, failures of methods, warnings. None of it ends a measurement."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import HarnessError, MethodError, described
from harness.probes.candidate import Candidate
from harness.records import Record


@dataclass
class Outcome:
    """Results of a matrix of runs or measurements.

    Attributes:
        output: Results folder.
        records: Complete records, in the order of the matrix.
        failures: (title, error) of the methods that could not be run or loaded, or whose own forward pass failed.
        warnings: Lines for the screen.
        idle: Whether all was there already, and nothing was done.
    """

    output: Path = Path()
    records: list[Record] = field(default_factory=list)
    failures: list[tuple[str, HarnessError]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    idle: bool = False

    def warn(self, candidate: Candidate, text: str) -> None:
        """Note a line about a candidate for the screen."""
        self.warnings.append(f"{candidate.title}: {text}")

    def note(self, candidate: Candidate, text: str) -> None:
        """Note a line about a candidate for the screen and for its record."""
        self.warn(candidate, text)
        if text not in candidate.record.warnings:
            candidate.record.warnings.append(text)

    def unmeasured(self, candidate: Candidate, probe: str, reason: str) -> None:
        """Note why a probe has no value, or not all of them, in the record too."""
        reasons = candidate.record.unmeasured  # several batch sizes may fail, each for a reason
        reasons[probe] = f"{reasons[probe]}; {reason}" if probe in reasons else reason
        self.warn(candidate, f"{probe} was not measured: {reason}")

    def fail(self, candidate: Candidate, error: BaseException) -> None:
        """Note that a method failed; a record that holds nothing but costs is failed then."""
        failure = error if isinstance(error, HarnessError) else MethodError(described(error))
        self.failures.append((f"{candidate.title}:", failure))
        record = candidate.record
        # A record of a run keeps its accuracy; one of `harness bench` has nothing left to stand for.
        record.unmeasured |= dict.fromkeys(candidate.probes, str(failure))
        if record.costs_only:
            record.status, record.failure = "failed", str(failure)

    @contextlib.contextmanager
    def guard(self, candidate: Candidate, probe: str, what: str = "") -> Iterator[None]:
        """Let a probe fail without harm: its value is null then, and the record says why.

        Args:
            candidate: The candidate that is measured.
            probe: The probe.
            what: The value of it that is measured, where it has several.
        """
        try:
            yield
        except (Exception, SystemExit) as error:  # a probe may break in any way, and must not take the run down
            self.unmeasured(candidate, probe, f"{what}: {described(error)}" if what else described(error))
