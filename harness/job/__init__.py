"""One cell of the matrix: one method on one data set with one seed, from training to its record."""

from harness.job.cell import Job, digest_artifact
from harness.job.execute import execute
from harness.job.folder import ARTIFACT, locked
from harness.job.record import method_info

__all__ = ["ARTIFACT", "Job", "digest_artifact", "execute", "locked", "method_info"]
