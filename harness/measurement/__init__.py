"""Measurement of costs: the probes, run on the methods of one command, so that their values can be compared."""

from harness.measurement.measure import measure
from harness.measurement.outcome import Outcome
from harness.probes.candidate import Candidate, Inputs, Setting

__all__ = ["Candidate", "Inputs", "Outcome", "Setting", "measure"]
