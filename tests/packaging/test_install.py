"""The wheel installs beside Hugging Face ``datasets`` without touching it and works from anywhere."""

import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from harness import registry
from harness.registry import known

pytestmark = pytest.mark.xdist_group("install")  # its tests share what they are made from

ROOT = Path(__file__).resolve().parents[2]


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


SOURCES = ("harness", "methods", "baselines", "datasets", "results/published", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy, so that no build folder is left in the checkout."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy / name)
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", out, copy, cwd=out)
    return next(out.glob("mtl_harness-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment that holds the wheel and sees the dependencies of this one."""
    folder = tmp_path_factory.mktemp("env")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, wheel, cwd=folder)
    shutil.copy(site / "bin" / "harness", folder / "bin" / "harness")
    import datasets

    (site / "dependencies.pth").write_text(str(Path(datasets.__file__).parents[1]))
    return python


def test_the_wheel_holds_one_import_package_with_every_module(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"harness"}
    for folder in ("methods", "baselines", "datasets"):
        for source in (ROOT / folder).rglob("*.py"):
            assert f"harness/{source.relative_to(ROOT).as_posix()}" in names
    for source in (ROOT / "harness").rglob("*.py"):
        assert source.relative_to(ROOT).as_posix() in names
    for card in (ROOT / "datasets" / "cards").iterdir():
        assert f"harness/datasets/cards/{card.name}" in names
    assert "harness/results/published/results.csv" in names
    for template in (ROOT / "harness" / "leaderboard" / "templates").iterdir():
        assert f"harness/leaderboard/templates/{template.name}" in names
    assert "harness/py.typed" in names
    assert "harness/datasets/__init__.py" not in names


def test_there_is_no_init_file_that_would_shadow_hugging_face() -> None:
    assert not (ROOT / "datasets" / "__init__.py").exists()


@pytest.mark.parametrize("place", ["checkout", "elsewhere"])
def test_module_and_console_script_run_and_hugging_face_stays_itself(
    place: str, installed: Path, tmp_path: Path
) -> None:
    cwd = ROOT if place == "checkout" else tmp_path
    assert "multi-task" in run(installed, "-m", "harness", "ls", "methods", cwd=cwd)
    assert "nyud-synth" in run(installed, installed.parent / "harness", "ls", "datasets", cwd=cwd)
    reported = "from harness.records.literature import published_records as found; print(len(found()))"
    assert run(installed, "-c", reported, cwd=cwd).strip() == "163"
    script = "import datasets, harness.datasets.nyud, harness; print(datasets.Dataset, harness.__file__)"
    out = run(installed, "-c", script, cwd=cwd)
    assert "arrow_dataset.Dataset" in out
    if place == "elsewhere":
        assert str(installed.parents[1]) in out, "the wheel itself must have been imported"


def test_a_clone_that_was_never_installed_runs(tmp_path: Path) -> None:
    script = (
        "import importlib.metadata as m, runpy, sys;"
        "m.entry_points = lambda **_: ();"
        "sys.argv = ['harness', 'ls', 'methods'];"
        "runpy.run_module('harness', run_name='__main__')"
    )
    assert "single-task" in run(sys.executable, "-c", script, cwd=ROOT)


def test_a_clone_and_an_installed_package_know_the_same_plug_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for kind in ("methods", "datasets"):
        listed = project["entry-points"][f"harness.{kind}"]
        assert registry.built_in(kind) == listed
        with monkeypatch.context() as patch:  # as in a wheel, which has no pyproject.toml
            patch.setattr(known, "__file__", str(ROOT / "nowhere" / "registry" / "known.py"))
            assert registry.built_in(kind) == listed


def test_every_package_folder_is_declared() -> None:
    declared = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    for folder in ("harness", "methods", "baselines", "datasets"):
        for source in (ROOT / folder).rglob("*.py"):
            parts = source.parent.relative_to(ROOT).parts
            name = ".".join(parts if parts[0] == "harness" else ("harness", *parts))
            assert name in declared, f"{name} is missing from [tool.setuptools] packages"
