"""Validation of submitted results: every record by itself, and all of them together."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.errors import UsageError, counted
from harness.leaderboard.checks import CHECKS, Finding, Level
from harness.records.gain import gain_over
from harness.records.groups import frozen
from harness.records.load import RECORD_NAME, Stored, read_record
from harness.records.schema import conditions
from harness.report.text import markdown


def validate(root: Path) -> tuple[list[Finding], int]:
    """Return what is wrong with the records below a folder, in order of place, and how many records there are.

    Raises:
        UsageError: there is no such folder, or no record below it.
    """
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder; give a results folder")
    paths = sorted(root.rglob(RECORD_NAME))
    if not paths:
        raise UsageError(f"{root}: no {RECORD_NAME} below it; harness run and harness bench write them")
    findings: list[Finding] = []
    held: list[Stored] = []
    for path in paths:
        place = path.relative_to(root).as_posix()
        try:
            stored = Stored(read_record(path), path)
        except UsageError as error:
            findings.append(Finding(place, "schema", "error", str(error).replace(f"{path}: ", "")))
            continue
        held.append(stored)
        for name, check in CHECKS.items():
            findings += [Finding(place, name, level, text) for level, text in check(stored)]
    findings += _together(root, held)
    return sorted(findings, key=lambda one: (one.place, one.level)), len(paths)


def _together(root: Path, held: Sequence[Stored]) -> Iterator[Finding]:
    """Yield what is wrong between records: twins, copied values, gains that do not follow from their references."""
    by_run: dict[str, Stored] = {}
    by_setting: dict[object, Stored] = {}
    by_values: dict[object, Stored] = {}
    for stored in held:
        record, place = stored.record, stored.path.relative_to(root).as_posix()

        def other(first: Stored) -> str:
            return first.path.relative_to(root).parent.as_posix()

        if (first := by_run.setdefault(record.run_id, stored)) is not stored:
            yield Finding(place, "duplicates", "error", f"the run {record.run_id} is in {other(first)} too")
            continue
        setting = record.config_hash, record.seed, record.system_id
        if (first := by_setting.setdefault(setting, stored)) is not stored:
            yield Finding(place, "duplicates", "error", f"the same setting and seed as {other(first)}")
        if record.metrics and record.reported is None:
            measured = [(task, name, one.value) for task, of in record.metrics.items() for name, one in of.items()]
            key = frozen([record.dataset.name, measured])
            if (first := by_values.setdefault(key, stored)) is not stored:
                level: Level = "warning" if first.record.method.checkpoint == record.method.checkpoint else "error"
                text = f"all metrics are those of {other(first)}, to the last digit"
                yield Finding(place, "duplicates", level, text)
        gain = record.delta_m
        if gain is not None and gain.value is not None and gain.reference is not None:
            reference = by_run.get(gain.reference) or next(
                (one for one in held if one.record.run_id == gain.reference), None
            )
            if reference is None:
                yield Finding(place, "gain", "warning", f"its reference {gain.reference} is not submitted")
            elif conditions(reference.record) != conditions(record):
                yield Finding(place, "gain", "error", f"{gain.reference} was made under other conditions")
            elif (found := gain_over(record, reference.record).value) != gain.value:
                yield Finding(place, "gain", "error", f"Δm is {gain.value}, by {gain.reference} it is {found}")


def summary(findings: Sequence[Finding], records: int) -> str:
    """Return the outcome in one line."""
    errors = sum(one.level == "error" for one in findings)
    told = f"{counted(errors, 'error')} and {counted(len(findings) - errors, 'warning')}" if findings else "no fault"
    return f"{counted(records, 'record')}: {told}"


def to_markdown(findings: Sequence[Finding], records: int) -> str:
    """Return the findings as Markdown for a pull request: a line on all, and a table of what was found."""
    failed = any(one.level == "error" for one in findings)
    lines = [f"### Submission {'refused' if failed else 'accepted'}: {markdown(summary(findings, records))}", ""]
    if findings:
        lines += ["| record | check | | |", "|:--|:--|:--|:--|"]
        for one in findings:
            level = "**error**" if one.level == "error" else "warning"
            cells = (markdown(one.place), one.check, level, markdown(one.text))
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
