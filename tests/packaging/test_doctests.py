"""The examples in docstrings and on the page of the Python API run as they stand."""

import doctest
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {"harness": "harness", "methods": "harness.methods", "baselines": "harness.baselines"}


def modules() -> list[str]:
    """Return the modules whose source has an example."""
    found = []
    for folder, prefix in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            if ">>> " in path.read_text():
                parts = path.relative_to(ROOT / folder).with_suffix("").parts
                found.append(".".join((prefix, *parts)).removesuffix(".__init__"))
    return found


@pytest.mark.parametrize("name", modules())
def test_examples_of_docstrings(name: str) -> None:
    results = doctest.testmod(importlib.import_module(name))
    assert results.attempted > 0
    assert results.failed == 0


def test_the_entry_points_have_examples() -> None:
    assert len(modules()) >= 10


def test_the_page_of_the_python_api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    results = doctest.testfile(str(ROOT / "docs" / "python.md"), module_relative=False, encoding="utf-8")
    assert results.attempted > 15
    assert results.failed == 0


def test_importing_the_package_imports_no_torch_and_its_names_work() -> None:
    code = (
        "import sys, harness; assert 'torch' not in sys.modules; import harness.run.record; "
        "from harness import RunConfig, evaluate, load, run; assert callable(run) and callable(load); "
        "import harness.run; assert harness.run.run is not None; harness.nothing"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "module 'harness' has no attribute 'nothing'" in done.stderr
