"""A comparison as JUnit XML, which CI systems show as tests: one test case per row and figure."""

from xml.etree import ElementTree as ET

from harness.compare.result import FATES, VERDICTS, Comparison, Figure, Row
from harness.compare.show import line_of


def to_junit(comparison: Comparison) -> str:
    """Return a comparison as JUnit XML."""
    cases = [case for row in comparison.rows for case in _cases(comparison, row)]
    counts = {
        "tests": str(len(cases)),
        "failures": str(sum(case.find("failure") is not None for case in cases)),
        "errors": "0",
        "skipped": str(sum(case.find("skipped") is not None for case in cases)),
    }
    root = ET.Element("testsuites", counts)
    ET.SubElement(root, "testsuite", {"name": "harness compare", **counts}).extend(cases)
    ET.indent(root)
    return f"<?xml version='1.0' encoding='utf-8'?>\n{ET.tostring(root, encoding='unicode')}\n"


def _cases(comparison: Comparison, row: Row) -> list[ET.Element]:
    if row.fate != "compared":
        message = ": ".join([FATES[row.fate], "; ".join(row.reasons)]).removesuffix(": ")
        return [_case(row, "row", message, comparison.fails(row), skipped=row.unanswered)]
    return [
        _case(row, figure.title, _message(row, figure), comparison.fails(figure), figure.verdict == "incomparable")
        for figure in row.figures
    ]


def _case(row: Row, name: str, message: str, fails: bool, skipped: bool) -> ET.Element:
    case = ET.Element("testcase", {"classname": row.label, "name": name, "time": "0"})
    if fails:
        ET.SubElement(case, "failure", {"message": message})
    elif skipped:
        ET.SubElement(case, "skipped", {"message": message})
    else:
        ET.SubElement(case, "system-out").text = message
    return case


def _message(row: Row, figure: Figure) -> str:
    """Return what a value's line of the table says."""
    cells = line_of(row, figure)
    values = f"{cells['BASE']} → {cells['HEAD']} {figure.unit}"
    return "; ".join(filter(None, [VERDICTS[figure.verdict], values, cells["Change"], cells["Why"]]))
