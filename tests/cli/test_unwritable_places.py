"""Disks that are full or read-only, and places that are none: one line, exit code 2, before the work where possible."""

import errno
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import files
from harness.errors import UsageError

Harness = Callable[..., Any]
ROOT = getattr(os, "geteuid", lambda: 1)() == 0


def mounted(folder: Path, *options: str) -> bool:
    """Mount a small tmpfs; return whether that is possible here."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    return ROOT and subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 6 MB."""
    folder = tmp_path / "small"
    if not mounted(folder, "size=6m"):
        pytest.skip("no tmpfs can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def one_line(text: str) -> str:
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    assert lines[0].startswith("harness: ")
    assert "Traceback" not in text
    return lines[0]


def test_a_full_disk_ends_a_run_in_one_line_and_leaves_no_half_files(
    harness: Harness, small: Path, mini: tuple[object, ...]
) -> None:
    options = [*mini[:-2], "-o", small / "out"]
    result = harness("run", "-m", "multi-task", *options, "-t", "depth", "--save-every", 0, "-q")
    assert result.code == 2
    line = one_line(result.err)
    assert str(small) in line
    assert "no space left" in line
    assert "MB are free" in line
    assert not list(small.rglob("*.tmp"))
    assert not list(small.rglob("*.unfinished"))


@pytest.mark.parametrize("taken", range(1, 6))
def test_any_fill_of_the_disk_gives_one_line(
    harness: Harness, tmp_path: Path, mini: tuple[object, ...], taken: int
) -> None:
    folder = tmp_path / "disk"
    if not mounted(folder, "size=40m"):
        pytest.skip("no tmpfs can be mounted here")
    try:
        free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
        (folder / "fill").write_bytes(bytes(int(free * (1 - (taken - 1) ** 2 / 40))))
        options = [*mini[:-2], "-o", folder / "out"]
        result = harness("run", "-m", "multi-task", *options, "-t", "depth", "--probe", "none", "-q")
        assert result.code in (0, 2), result.err
        if result.code == 2:
            one_line(result.err)
        assert not list(folder.rglob("*.tmp"))
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_finished_run_is_read_on_a_disk_that_is_only_read(
    harness: Harness, tmp_path: Path, mini: tuple[object, ...]
) -> None:
    folder = tmp_path / "disk"
    if not mounted(folder, "size=200m"):
        pytest.skip("no tmpfs can be mounted here")
    try:
        options = [*mini[:-2], "-o", folder / "out"]
        first = harness("run", "-m", "multi-task", *options, "-t", "depth", "-q")
        assert first.code == 0
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        second = harness("run", "-m", "multi-task", *options, "-t", "depth", "-q")
        assert second.code == 0, second.err
        assert second.out == first.out
        new = harness("run", "-m", "multi-task", *options, "-t", "depth", "--seed", 1, "-q")
        assert new.code == 2
        assert "-o" in one_line(new.err)
        assert "read-only" in new.err
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("output", ["/dev/null", "/dev/null/x", "/proc/x", "file", "n" * 300])
@pytest.mark.parametrize("command", ["run", "bench", "score"])
def test_a_place_that_is_none_is_named_before_anything_is_measured(
    harness: Harness, tmp_path: Path, mini: tuple[object, ...], command: str, output: str
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "predictions" / "depth").mkdir(parents=True)
    arguments = {
        "run": ["-m", "multi-task", *mini[:-2], "-t", "depth"],
        "bench": ["-m", "multi-task", "-d", "nyud", "-t", "depth", "--input-size", "32x32"],
        "score": ["predictions", *mini[:4]],
    }[command]
    result = harness(command, *arguments, "-q", "-o", output)
    assert result.code == 2
    assert f"-o {output[:60]}" in one_line(result.err)


def test_a_device_is_written_to_and_stays_one(harness: Harness, tmp_path: Path, golden: Path) -> None:
    result = harness("table", "--published", "-o", "/dev/null")
    assert result.code == 0
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)  # noqa: PTH116


def test_a_dash_is_standard_output(harness: Harness) -> None:
    plain, dashed = harness("table", "--published"), harness("table", "--published", "-o", "-")
    assert plain.out == dashed.out != ""
    assert harness("table", "--published", "-o", "/dev/stdout").out == plain.out


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    reader = subprocess.Popen(["cat", str(fifo)], stdout=subprocess.PIPE)
    files.write_atomically(fifo, "text")
    assert reader.communicate(timeout=20)[0] == b"text"
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def test_a_link_stays_one_and_its_target_is_replaced(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    files.write_atomically(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_a_failing_write_keeps_the_old_file_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    files.write_atomically(path, "old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with (
        pytest.raises(UsageError, match=r"-o a: cannot be written \(no space left on the disk\)"),
        files.writing_to("-o a"),
    ):
        files.write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with files.new_folder(tmp_path / "artifact") as unfinished:
            (unfinished / "half").write_text("")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not list(tmp_path.iterdir())
    with files.new_folder(tmp_path / "artifact") as unfinished:
        (unfinished / "whole").write_text("x")
    assert [path.name for path in tmp_path.rglob("*")] == ["artifact", "whole"]


@pytest.mark.parametrize("arguments", [("--data-root", "~nobody-of-this-name/x"), ("--seed", "9" * 300)])
def test_odd_values_are_one_line(harness: Harness, mini: tuple[object, ...], arguments: tuple[str, ...]) -> None:
    result = harness("run", "-m", "multi-task", *mini, "-q", *arguments)
    assert result.code == 2
    one_line(result.err)


def test_full_shared_memory_is_not_taken_for_a_full_disk(
    harness: Harness, mini: tuple[object, ...], monkeypatch
) -> None:
    def full(self: object) -> None:
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    monkeypatch.setattr("torch.Tensor.share_memory_", full)  # loader processes are forked
    result = harness("run", "-m", "multi-task", *mini, "-t", "depth", "--workers", 2, "-q")
    assert result.code == 4
    [line] = [line for line in result.err.splitlines() if "--shm-size" in line]
    assert "--workers 0" in line
    assert "-o" not in line


def test_a_text_of_shared_memory_is_no_fault_of_a_disk() -> None:
    text = "unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)"
    assert files.disk_fault(RuntimeError(text)) is None
    assert files.disk_fault(RuntimeError("write failed: No space left on device")) is not None
