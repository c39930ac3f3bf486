"""Records: the schema of a result, its costs and metrics, and what is read out of many of them."""

from harness.records.schema import (
    RECORD_NAME,
    DatasetInfo,
    Gain,
    Init,
    MethodInfo,
    Phase,
    Record,
    Reported,
    Software,
    StageInfo,
    conditions,
    find_records,
    headlines,
    read_record,
    write_record,
)

__all__ = [
    "RECORD_NAME",
    "DatasetInfo",
    "Gain",
    "Init",
    "MethodInfo",
    "Phase",
    "Record",
    "Reported",
    "Software",
    "StageInfo",
    "conditions",
    "find_records",
    "headlines",
    "read_record",
    "write_record",
]
