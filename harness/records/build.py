"""The one place where records begin: of a run, a measurement, a score, or the row of a paper."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from harness.files import digest
from harness.records.schema import DatasetInfo, MethodInfo, Record, Software


@dataclass(frozen=True)
class Provenance:
    """Moment, code, command and system that a record comes from.

    Attributes:
        moment: With its time zone.
        software: The harness and its commit.
        command: Words of the command line.
        system_id: Name of the system; equal ones have comparable costs.
        environment: Facts of the system.
    """

    moment: datetime
    software: Software
    command: list[str]
    system_id: str
    environment: dict[str, Any]


def build_record(
    run_id: str, identity: object, provenance: Provenance, method: MethodInfo, dataset: DatasetInfo, **fields: Any
) -> Record:
    """Return a record.

    Args:
        run_id: Data set and folder.
        identity: Everything the results depend on, as JSON values; its digest is the record's `config_hash`.
        provenance: Where it comes from.
        method: The method.
        dataset: The data set.
        fields: All other fields of a `Record`.

    Raises:
        pydantic.ValidationError: a field has no valid value.
    """
    return Record(
        run_id=run_id,
        created_at=provenance.moment,
        updated_at=provenance.moment,
        harness=provenance.software,
        command=provenance.command,
        config_hash=digest(identity),
        method=method,
        dataset=dataset,
        system_id=provenance.system_id,
        environment=provenance.environment,
        **fields,
    )
