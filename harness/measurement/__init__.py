"""Fills the costs of records: the probes, on the methods of one command, so that their figures can be compared."""

from harness.measurement.candidate import Candidate, Inputs, Setting
from harness.measurement.findings import Findings
from harness.measurement.measure import measure

__all__ = ["Candidate", "Findings", "Inputs", "Setting", "measure"]
