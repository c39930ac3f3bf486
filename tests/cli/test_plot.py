"""``harness plot`` as a user runs it."""

import shutil
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("plot")  # its tests share what they are made from


@pytest.fixture
def measured(harness, mini, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a results folder with two methods, one of them with two seeds; they are run once."""
    kept = tmp_path_factory.getbasetemp() / "plotted"
    if not kept.exists():
        assert harness("run", "-m", "single-task", "-m", "multi-task", "--seed", 0, "--seed", 1, *mini).code == 0
        shutil.copytree("out", kept)
    return Path(shutil.copytree(kept, "out", dirs_exist_ok=True))


def test_records_become_a_figure_in_every_format(harness, measured: Path) -> None:
    for name in ("fig.svg", "fig.png", "fig.pdf"):
        result = harness("plot", measured, "-x", "macs", "-o", f"figures/{name}")
        assert (result.code, result.out) == (0, f"figures/{name}\n"), result.err
        first = Path("figures", name).read_bytes()
        assert harness("plot", measured, "-x", "macs", "-o", f"figures/{name}").code == 0
        assert Path("figures", name).read_bytes() == first
    svg = Path("figures/fig.svg").read_text()
    for text in ("single-task", "multi-task", "Executed MACs, G ↓", "Δm, % ↑", "nyud", "protocol invpt", "over seeds"):
        assert text in svg
    assert "synthetic" not in svg
    assert str(Path.cwd()) not in svg


def test_wrong_arguments_are_told_in_a_line(harness, measured: Path) -> None:
    cases = {
        ("-x", "latncy_ms"): "did you mean latency_ms",
        ("-x", "macs", "-d", "nyu"): "did you mean nyud",
        (): "no record has both latency_ms and delta_m: ",
        ("-x", "macs", "-o", "out/nyud/table.quick.invpt.md/fig.svg"): "File exists",
        ("-x", "macs", "-o", "fig.gif"): "the name must end in .svg, .png or .pdf",
    }
    for arguments, message in cases.items():
        result = harness("plot", measured, "-o", "fig.svg", *arguments)
        assert result.code == 2, result.err
        assert message in result.err
        assert result.err.count("\n") == 1
    empty = Path("empty")
    empty.mkdir()
    assert "no record.json below it" in harness("plot", empty, "-o", "fig.svg").err
    assert harness("plot", "gone", "-o", "fig.svg").code == 2
    assert not list(Path().glob("fig.*"))


def test_two_protocols_make_no_figure_but_each_alone_does(harness, measured: Path, mini) -> None:
    assert harness("run", "-m", "multi-task", *mini, "--protocol", "atrc").code == 0
    refused = harness("plot", measured, "-x", "macs", "-y", "semseg", "-o", "fig.svg")
    assert refused.code == 2
    assert "protocol atrc" in refused.err
    assert "protocol invpt" in refused.err
    runs = sorted(path for path in measured.glob("nyud/single-task*") if path.is_dir())
    assert len(runs) == 2
    result = harness("plot", *runs, "-x", "macs", "-y", "semseg", "-o", "fig.svg")
    assert result.code == 0, result.err
