"""Every format against a committed file (written by ``pytest tests/report --update-golden``), and its escaping."""

import csv
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import origin, record
from rich.console import Console

from harness.records import Gain, Record
from harness.records.costs import Conditions, Latency, Macs, Sampling, Sparsity, Spread
from harness.records.reference import with_gains
from harness.report.formats import FORMATS, html, latex, markdown
from harness.report.grid import Table
from harness.report.table import build_tables

GOLDEN = Path(__file__).parent / "golden"
SUFFIX = {"md": "md", "latex": "tex", "csv": "csv", "html": "html", "json": "json"}

NASTY = r"a|b & c_d % # $x$ {e} \f ~g ^h <script>alert('i')</script> [j] *k* --l `m` é ↑ 中 " + '"n"'


def latency(p50_ms: float, load: float) -> Latency:
    sampling = Sampling(warmup=3, clock="perf_counter", session="s", rounds=[1], other_cores=0.0)
    quiet = Conditions(load_average=0.1)
    return Latency.of(
        [p50_ms],
        batch_size=1,
        precision="fp32",
        threads=2,
        sampling=sampling,
        before=quiet,
        after=quiet,
        disturbed=[f"the load average was {load} on 2 cores"],
    )


def macs(executed: float, per_task: dict[str, float]) -> Macs:
    spread = Spread.of([executed])
    return Macs(dense=spread, executed=spread, per_part={}, per_task=per_task, elementwise_outputs=0)


def records() -> list[Record]:
    """Return two seeds of two methods with costs, a row with few figures, and reported rows."""
    runs = []
    for seed, shift in enumerate((0.0, 0.02)):
        costs = {"latency": [latency(12.5 + shift, 2.5 + seed)], "macs": macs(1.25e9, {"depth": 3e8})}
        runs.append(record("single-task", (0.40 + shift, 0.60, 20.0, 0.76), seed=seed, **costs))
        costs = {"latency": [latency(6.25, 4.0)], "macs": macs(5e8, {"depth": 2e8})}
        shared = {"depth": Sparsity(weight_density=0.08, active_rows=0.2)}
        runs.append(record("share", (0.44, 0.57 + shift, 21.0, 0.76), seed=seed, sparsity=shared, **costs))
    runs.append(record(NASTY, (0.1, None, 30.0, 0.5), warnings=["a warning_with |signs| & 100 %"]))
    printed = {"gflops": 100.0, "parameters_m": 10.0, "delta_m_percent": 2.29, "note": "a note"}
    rows = {
        "paper_row": (0.5, origin(**printed)),
        "other & row": (0.6, origin(tier="quoted", locator="Table 2")),
        "third": (0.4, origin(tier="quoted", locator="Table 3")),
        "small": (0.7, origin(differs="at 224x224")),
    }
    for name, (miou, source) in rows.items():
        costs = {"parameters": None, "storage": None, "seed": None}
        runs.append(record(name, (miou, 0.5, 19.0, None), source="reported", reported=source, **costs))
    for run in runs:
        run.environment = {"cpu": "a fine CPU"}
    return with_gains(runs)


def tables() -> list[Table]:
    return build_tables(records(), "share")


@pytest.mark.parametrize("form", FORMATS)
def test_tables_are_rendered_as_in_the_committed_file(form: str, request: pytest.FixtureRequest) -> None:
    path = GOLDEN / f"tables.{SUFFIX[form]}"
    text = FORMATS[form](tables())
    if request.config.getoption("--update-golden"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_records_give_the_same_bytes(form: str) -> None:
    assert FORMATS[form](tables()) == FORMATS[form](tables())
    shuffled = build_tables(with_gains(records()[::-1]), "share")
    assert len(shuffled) == len(tables())


def compiled(text: str, folder: Path) -> str:
    """Return what pdflatex prints of a document with the tables; it must succeed."""
    preamble = f"\\documentclass{{article}}\n\\usepackage[margin=2cm]{{geometry}}\n{latex.PREAMBLE}"
    document = f"{preamble}\\begin{{document}}\n{text}\\end{{document}}\n"
    (folder / "document.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "document.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (folder / "document.pdf").stat().st_size > 1000
    return done.stdout


needs_latex = pytest.mark.skipif(
    shutil.which("pdflatex") is None, reason="pdflatex is missing: apt-get install texlive-latex-recommended"
)


@needs_latex
def test_latex_compiles_with_booktabs(tmp_path: Path) -> None:
    log = compiled(latex.render(tables()), tmp_path)
    assert "Overfull \\hbox" not in log, "a table is never wider than the line"
    assert "Missing character" not in log


@needs_latex
def test_latex_shows_every_printable_sign(tmp_path: Path) -> None:
    every = "".join(map(chr, [*range(32, 127), *range(160, 384), 0x394, 0x2013, 0x2020, 0x4E2D, 0x1F600]))
    names = [f"{sign}x" for sign in every] + [f"--{sign}" for sign in every]
    rows = [record(name, (0.1, 0.2, 3.0, 0.4), run_id=f"d/{number}") for number, name in enumerate(names)]
    pages = [latex.render(build_tables(rows[at : at + 40])) for at in range(0, len(rows), 40)]
    log = compiled("\\clearpage\n".join(pages), tmp_path)
    assert "Missing character" not in log


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b & 50 % #1", r"a\_b \& 50 \% \#1"),
        (r"\input{x}", r"\textbackslash{}input\{x\}"),
        ("ViT-B --seed ---", r"ViT-B -{}-seed -{}-{}-"),
        ("[1] *", "{[}1{]} {*}"),
        ("naïve ±2 ×", r"na\"{i}ve $\pm$2 $\times$"),
        ("中\n\x07", "{[}U+4E2D{]} {[}U+0007{]}"),
    ],
)
def test_signs_of_latex_are_escaped(text: str, expected: str) -> None:
    assert latex.escape(text) == expected


@given(st.text(max_size=40))
@settings(deadline=None)
def test_nothing_in_a_name_is_markup(name: str) -> None:
    [table] = build_tables([record(f"m{name}", (0.1, 0.2, 3.0, 0.4))])
    lines = [line for line in markdown.render([table]).splitlines() if line.startswith("|")]
    assert len(lines) == 3, "a name breaks no row"
    assert {len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines} == {len(table.columns) + 1}
    parser = _Elements()
    parser.feed(html.render([table]))
    frame = {"html", "head", "meta", "title", "style", "body", "section"}
    assert parser.names <= frame | {"table", "caption", "thead", "tbody", "tr", "th", "td", "ul", "li", "strong", "u"}
    escaped = latex.escape(name)
    assert not re.search(r"(?<!\\)[%&#_]", escaped)
    assert escaped.isascii()


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.names.add(tag)


def test_html_shows_names_as_they_are() -> None:
    page = html.render(tables())
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert page.count('scope="row"') == sum(len(table.rows) for table in tables())
    assert page.count("<caption>") == len(tables())


def test_json_holds_unrounded_values_with_units_and_conditions() -> None:
    first = json.loads(FORMATS["json"](tables()))[0]
    units = {column["key"]: column["unit"] for column in first["columns"]}
    assert units["semseg_headline"] == "fraction"
    assert units["artifact"] == "bytes"
    [single] = [row for row in first["rows"] if row["method"] == "single-task"]
    values = [one.metrics["semseg"]["headline"].value for one in records() if one.method.name == "single-task"]
    assert single["semseg_headline"]["value"] == sum(filter(None, values)) / 2
    assert single["semseg_headline"]["n"] == 2
    assert single["seeds"] == [0, 1]
    assert first["conditions"]["synthetic"] is True
    assert first["conditions"]["input_size"] == "112x144"


def test_csv_holds_plain_numbers_with_units_in_the_names() -> None:
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"](build_tables(records())))))
    assert [row["method"] for row in rows] == [
        "single-task",
        NASTY,
        "share",
        *("paper_row", "other & row", "third", "small"),
    ]
    single, nasty, share, printed, *_ = rows
    assert float(single["semseg_headline_percent"]) == pytest.approx(41)
    assert float(single["semseg_headline_percent_std"]) == pytest.approx(100 * 0.02 / 2**0.5)
    assert float(share["macs_giga"]) == 0.5
    assert nasty["depth_headline_m"] == ""
    assert (printed["source"], printed["document"], printed["printed_delta_m_percent"]) == (
        "reported",
        "a paper",
        "2.29",
    )


def test_notes_tell_a_disturbance_of_the_machine_once() -> None:
    [measured, *_] = build_tables(records())
    told = [note for note in measured.notes if "load average" in note]
    assert told == ["latency at batch size 1 of single-task, share: the load average was 2.5 to 4.0 on 2 cores"]


HOSTILE = "=cmd|'/c calc'!A1 \x1b]0;owned\x07\x1b[31m [bold]x[/x] \x9b2J \u202eabc\r\nnext"
"""A name that spreadsheets compute, that terminals obey, that rich takes for markup, and that turns the writing."""


@pytest.mark.parametrize("form", FORMATS)
def test_no_control_character_of_a_name_reaches_the_output(form: str) -> None:
    one = record(HOSTILE, (0.1, 0.2, 3.0, 0.4), warnings=[HOSTILE], protocol_name=HOSTILE, protocol={HOSTILE: HOSTILE})
    one.metrics[HOSTILE] = {HOSTILE: one.metrics["semseg"]["headline"]}
    text = FORMATS[form](build_tables([one], "share"))
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)


def test_names_are_printed_as_they_are_without_markup() -> None:
    [table] = build_tables([record(HOSTILE, (0.1, 0.2, 3.0, 0.4), warnings=[HOSTILE])])
    console = Console(file=io.StringIO(), force_terminal=True, width=300)
    table.print(console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[bold]x[/x]" in text
    assert set(re.findall("\x1b\\[([0-9;]*)m", text)) <= {"", "0", "1", "3", "1;4", "2", "2;3", "4"}, "only rich's own"
    assert not re.search("[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u202e]", text)


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t=", "\r@", "＝"])
def test_no_cell_of_csv_is_a_formula(first: str) -> None:
    name = f"{first}1+1"
    one = record(name, (0.1, 0.2, 3.0, 0.4), protocol_name=name)
    one.metrics[name] = {"headline": one.metrics["semseg"]["headline"]}
    one.delta_m = Gain(value=-1.5, reference="r")
    rows = list(csv.reader(io.StringIO(FORMATS["csv"](build_tables([one])))))
    for cell in (cell for row in rows for cell in row):
        assert not cell.startswith(("=", "+", "@", "\t", "\r", "＝")), cell
        assert not cell.startswith("-") or float(cell) < 0
    assert "-1.5" in rows[1]


def test_json_has_neither_infinities_nor_nan() -> None:
    one = record("m", (0.1, 0.2, 3.0, 0.4)).model_copy(update={"protocol": {"x": float("inf")}})
    # Reading refuses such values; a caller of the Python API may set them still.
    spread = Spread.model_construct(mean=float("nan"), p50=1.0, p95=1.0, n=1)
    one.macs = Macs.model_construct(
        dense=spread, executed=spread, per_part={}, per_task={"depth": float("inf")}, elementwise_outputs=0
    )

    def refuse(constant: str) -> None:
        raise AssertionError(f"JSON has no {constant}")

    for style in ("paper", "share", "wide"):
        [table, *_] = json.loads(FORMATS["json"](build_tables([one], style)), parse_constant=refuse)
        assert table["conditions"]["protocol"] == {"x": None}
