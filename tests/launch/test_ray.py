"""Jobs on Ray: run where Ray is installed and asked for, for its start takes long on a loaded machine."""

import os
import sys
from pathlib import Path

import pytest
from cells import MOODY, config, results

from harness.errors import UsageError
from harness.launch.start import Elsewhere, launch
from harness.run import run


def test_without_ray_a_line_says_what_to_install(golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'mtl-harness\[ray\]'"):
        launch(config(golden, tmp_path), "ray", None, {})


@pytest.mark.ray
def test_cells_on_ray_are_the_serial_ones(golden: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    if not os.environ.get("HARNESS_TEST_RAY"):
        pytest.skip("set HARNESS_TEST_RAY=1 to start Ray")
    plugin = tmp_path / "moody.py"
    plugin.write_text(MOODY)
    cells = {"method": ["moody"], "seed": [0, 2], "plugin": [str(plugin)], "iterations": 1}
    outcome = launch(config(golden, tmp_path / "ray", **cells), "ray", 2, {})
    assert isinstance(outcome, Elsewhere)
    assert [error.exit_code for _, error in outcome.failures] == [4]
    assert "nyud (real images" in outcome.printed
    run(config(golden, tmp_path / "serial", **cells))
    assert results(tmp_path / "ray") == results(tmp_path / "serial")
