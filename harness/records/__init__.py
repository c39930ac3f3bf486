"""Records: the schema of a result, its costs and metrics, and what is read out of many of them."""

from harness.records.build import Provenance, build_record
from harness.records.load import (
    RECORD_NAME,
    UnreadableRecord,
    find_records,
    read_record,
    read_results,
    write_record,
)
from harness.records.schema import (
    DatasetInfo,
    Gain,
    Init,
    MethodInfo,
    PerImageFile,
    Phase,
    Record,
    Reported,
    Software,
    StageInfo,
    conditions,
    headlines,
)

__all__ = [
    "RECORD_NAME",
    "DatasetInfo",
    "Gain",
    "Init",
    "MethodInfo",
    "PerImageFile",
    "Phase",
    "Provenance",
    "Record",
    "Reported",
    "Software",
    "StageInfo",
    "UnreadableRecord",
    "build_record",
    "conditions",
    "find_records",
    "headlines",
    "read_record",
    "read_results",
    "write_record",
]
