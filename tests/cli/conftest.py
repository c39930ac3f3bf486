"""Runs the command line in this process, as ``main`` does."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.cli.main import cli, exit_code
from harness.registry.known import GIVEN


@dataclass
class Result:
    code: int
    out: str
    err: str
    log: list[str]
    """Lines of stderr that say where a run is; ``err`` has the others."""


_LOG = re.compile(r"harness: [^:]+: (runs in|is (complete|partial|failed) in) ")


Harness = Callable[..., Result]


@pytest.fixture
def harness(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Harness:
    """Return a function that runs ``harness ARGUMENTS`` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for kind in GIVEN:
        monkeypatch.setitem(GIVEN, kind, {})

    def call(*arguments: object) -> Result:
        capfd.readouterr()
        code = exit_code(lambda: cli.main(list(map(str, arguments)), prog_name="harness", standalone_mode=False))
        captured = capfd.readouterr()
        lines = captured.err.splitlines(keepends=True)
        log = [line for line in lines if _LOG.match(line)]
        return Result(code, captured.out, "".join(line for line in lines if line not in log), log)

    return call


@pytest.fixture
def mini(golden: Path) -> tuple[object, ...]:
    """Options of a run on the three-image NYUD-v2, a few steps long, without the probes that take time."""
    data = ("-d", "nyud", "--data-root", golden / "mini_NYUDv2")
    return (*data, "--iterations", 3, "--probe", "macs", "--probe", "storage", "-o", "out")
