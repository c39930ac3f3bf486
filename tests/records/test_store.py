"""Stores by URL: a run is seen with its artifact or not at all, whenever an upload ends; and read by every view."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from harness.cli.main import cli
from harness.config import RunConfig
from harness.errors import UsageError
from harness.records import find_records
from harness.records.store import fetched, publish
from harness.run import run

pytestmark = pytest.mark.xdist_group("store")  # its tests share what they are made from

URL = "memory://store/results"


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    MemoryFileSystem.store.clear()
    yield
    MemoryFileSystem.store.clear()


@pytest.fixture(scope="module")
def results(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results")
    data = {"dataset": ["nyud"], "data_root": golden / "mini_NYUDv2", "task": ["depth"], "device": "cpu"}
    run(RunConfig(method=["multi-task"], **data, iterations=1, probe=["none"], output=out, quiet=True))
    return out


def seen() -> dict[str, bytes]:
    return {name: bytes(file.getbuffer()) for name, file in MemoryFileSystem.store.items()}


def test_an_upload_that_ends_anywhere_leaves_no_record_without_its_artifact(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [record] = find_records(results)
    folder = results / record.run_id
    weights = (folder / "artifact" / "model.safetensors").read_bytes()
    changes = ("put_file", "pipe_file", "mv", "rm", "rm_file")
    originals: dict[str, Callable[..., object]] = {name: getattr(MemoryFileSystem, name) for name in changes}
    left = 0

    def counted(name: str) -> Callable[..., object]:
        def call(self: MemoryFileSystem, *arguments: object, **options: object) -> object:
            nonlocal left
            if left == 0:
                raise ConnectionError("the line is dead")
            left -= 1
            return originals[name](self, *arguments, **options)

        return call

    ended = 0
    older = json.loads((folder / "record.json").read_text()) | {"warnings": ["older"]}
    for begun in ("nothing", "older run"):
        for count in range(40):
            MemoryFileSystem.store.clear()
            if begun == "older run":
                system = MemoryFileSystem()
                system.pipe_file(f"/store/results/{record.run_id}/artifact/model.safetensors", b"older")
                system.pipe_file(f"/store/results/{record.run_id}/record.json", json.dumps(older).encode())
            with monkeypatch.context() as patched:
                for name in changes:
                    patched.setattr(MemoryFileSystem, name, counted(name))
                left = count
                with contextlib.suppress(UsageError):
                    publish(folder, URL, record.run_id)
                    ended += 1
            files = {name.split(record.run_id + "/")[-1]: content for name, content in seen().items()}
            if "record.json" in files:
                is_older = json.loads(files["record.json"])["warnings"] == ["older"]
                assert files["artifact/model.safetensors"] == (b"older" if is_older else weights)
            if count == 39:
                assert "record.json" in files
    assert ended >= 2
    # The same again sends nothing.
    with monkeypatch.context() as patched:
        for name in changes:
            patched.setattr(MemoryFileSystem, name, counted(name))
        left = 0
        publish(folder, URL, record.run_id)


def test_every_view_reads_a_url_as_the_folder_it_came_from(
    results: Path, tmp_path: Path, golden: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = {"dataset": ["nyud"], "data_root": golden / "mini_NYUDv2", "task": ["depth"], "device": "cpu"}
    outcome = run(
        RunConfig(method=["multi-task"], **data, iterations=1, probe=["none"], output=results, quiet=True, publish=URL)
    )
    assert outcome.failures == []
    with fetched(URL) as folder:
        assert not list(folder.rglob("artifact"))
        assert [one.run_id for one in find_records(folder)] == [one.run_id for one in find_records(results)]

    def printed(*words: str) -> str:
        code = cli.main(list(words), prog_name="harness", standalone_mode=False)
        assert not code
        return capsys.readouterr().out

    for words in (("table", "-f", "json"), ("status", "-f", "json")):
        local, remote = printed(words[0], str(results), *words[1:]), printed(words[0], URL, *words[1:])
        assert [one.get("run_id") for one in json.loads(remote)] if words[0] == "status" else remote == local
    listed = [json.loads(printed("ls", "results", "-o", place, "-f", "json")) for place in (URL, str(results))]
    for row in (*listed[0], *listed[1]):
        row.pop("age_seconds")  # one was listed after the other
    assert listed[0] == listed[1]
    printed("compare", URL, str(results))
    printed("plot", URL, "-x", "parameters", "-y", "parameters", "-o", "plot.svg")
    assert (tmp_path / "plot.svg").stat().st_size > 1000
    printed("leaderboard", URL, "-o", "site")
    assert (tmp_path / "site" / "index.html").is_file()


def test_a_url_that_cannot_be_used_is_one_line(results: Path) -> None:
    with pytest.raises(UsageError, match="results memory://nothing: there is nothing"), fetched("memory://nothing"):
        pass
    with pytest.raises(UsageError, match="--publish nowhere://x: "):
        run(RunConfig(method=["multi-task"], output=results, publish="nowhere://x"))


def test_workers_auto_are_the_usable_cores_but_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, workers in ((1, 0), (8, 7), (500, 16)):
        monkeypatch.setattr("harness.data.parallel.usable_cores", lambda cores=cores: cores)
        assert RunConfig(method=["multi-task"], workers="auto").workers == workers
    assert RunConfig(method=["multi-task"], workers="3").workers == 3
