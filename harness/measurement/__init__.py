"""Fills the costs of records: the probes, on the methods of one command, so that their figures can be compared."""

from harness.measurement.candidate import Candidate, Inputs, Setting
from harness.measurement.measure import measure
from harness.measurement.outcome import Outcome

__all__ = ["Candidate", "Inputs", "Outcome", "Setting", "measure"]
