"""Lists, cards, tables, comparisons and completion come without torch and all else that takes long to import."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from records import record

from harness.records import write_record

HEAVY = (
    "torch",
    "torchvision",
    "timm",
    "datasets",
    "pandas",
    "matplotlib",
    "scipy",
    "skimage",
    "numba",
    "pyarrow",
    "numpy",
)

LISTS = [["ls", kind] for kind in ("methods", "datasets", "tasks", "backbones", "probes")]
CARDS = [["show", name] for name in ("share", "pad-net", "nyud", "pascal-synth", "depth", "vit-b16", "record-schema")]
COMPLETED = [
    *(["run", flag] for flag in ("-m", "-d", "-b", "-t", "--probe", "--budget", "--init")),
    *(["bench", flag] for flag in ("-m", "--compile")),
    *([command, "-d"] for command in ("predict", "score", "table", "plot")),
    ["stream", "a", "b", "-t"],
    ["data", "info"],
    ["leaderboard", "-y"],
    [],
]

SCRIPT = """
import contextlib, io, json, sys
from click.shell_completion import BashComplete
from harness.cli.main import cli

found = {}
heavy, commands, completed = json.loads(sys.argv[1])

def note(words):
    found[" ".join(words)] = [name for name in heavy if name in sys.modules]

for words in completed:
    items = BashComplete(cli, {}, "harness", "_HARNESS_COMPLETE").get_completions(words, "")
    assert items, words
    note(["TAB", *words])
for words in commands:
    with contextlib.redirect_stdout(io.StringIO()):
        cli.main(words, standalone_mode=False)
    note(words)
print(json.dumps(found))
"""


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for name in ("single-task", "multi-task"):
        one = record(name, (0.4, 0.6, 20.0, 0.7), run_id=f"nyud/{name}")
        write_record(one, tmp_path / "results" / one.run_id)
    return tmp_path / "results"


def loaded(commands: list[list[str]], completed: list[list[str]]) -> dict[str, list[str]]:
    """Return the heavy modules that are loaded after each command, one after the other in a fresh process."""
    content = json.dumps([HEAVY, commands, completed])
    done = subprocess.run([sys.executable, "-c", SCRIPT, content], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def test_what_lists_and_shows_imports_nothing_that_computes(results: Path) -> None:
    folder = str(results)
    read = [
        ["ls", "results", "-o", folder],
        ["show", str(next(results.rglob("record.json")))],
        *(["table", folder, "-f", form] for form in ("md", "latex", "csv", "html", "json")),
        ["table", "--published", "--style", "wide"],
        ["compare", folder, folder, "--all"],
        ["plot", "--help"],
        ["run", "--help"],
    ]
    found = loaded([*LISTS, *CARDS, *read], COMPLETED)
    compared = next(name for name in found if name.startswith("compare"))
    assert set(found.pop(compared)) <= {"numpy"}
    after = list(found)[-2:]  # numpy stays once it is there
    assert {name: modules for name, modules in found.items() if name not in after and modules} == {}
    assert len(found) == len(LISTS) + len(CARDS) + len(COMPLETED) + len(read) - 1


def test_completion_prints_names_and_nothing_else() -> None:
    environment = {"COMP_WORDS": "harness run -m sing", "COMP_CWORD": "3", "_HARNESS_COMPLETE": "bash_complete"}
    done = subprocess.run(
        [sys.executable, "-m", "harness"], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (0, ["plain,single-task"], "")
