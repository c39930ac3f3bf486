"""Options by variables and files, what a command would do, and what it says."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from harness.cli.main import cli

METHOD = """
from harness.baselines.multi_task import MultiTask

class Broken(MultiTask):
    name = "broken"
    summary = "fails"

    def build(self, problem):
        raise ValueError("no such luck")
"""


def options(group: click.Group, words: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Option]]:
    """Return the options of all commands below a group, with the words that lead to them."""
    found = []
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        if isinstance(command, click.Group):
            found += options(command, (*words, name))
        found += [((*words, name), one) for one in command.params if isinstance(one, click.Option)]
    return found


def test_every_option_has_a_variable_that_is_named_after_its_long_flag() -> None:
    known = options(cli)
    names = [str(option.envvar) for _, option in known if option.allow_from_autoenv]
    assert len(set(names)) == len(names) > 100
    assert {"HARNESS_RUN_DEVICE", "HARNESS_TABLE_FORMAT", "HARNESS_DATA_FETCH_BUILD", "HARNESS_RUN_CONFIG"} < set(names)
    assert not {"HARNESS_DATA", "HARNESS_CACHE"} & set(names)
    for words, option in known:
        if option.allow_from_autoenv:
            flag = max(option.opts, key=len).lstrip("-").replace("-", "_")
            assert option.envvar == "_".join(["HARNESS", *words, flag]).upper().replace("-", "_")


def test_variables_files_and_flags(
    harness: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HARNESS_RUN_METHOD", "share multi-task")
    monkeypatch.setenv("HARNESS_RUN_DEVICE", "cuda:1")
    (tmp_path / "file.yaml").write_text("device: cpu\nlimit: 3\nseed: [1, 2]\n")
    shown = harness("run", "--config", "file.yaml", "--limit", 4, "--show-config")
    settings = yaml.safe_load(shown.out)
    assert {key: settings[key] for key in ("method", "device", "limit", "seed")} == {
        "method": ["share", "multi-task"],  # of the variable
        "device": "cuda:1",  # the variable stands over the file
        "limit": 4,  # the flag stands over both
        "seed": [1, 2],
    }
    monkeypatch.delenv("HARNESS_RUN_METHOD")
    monkeypatch.delenv("HARNESS_RUN_DEVICE")
    (tmp_path / "again.yaml").write_text(shown.out)
    assert harness("run", "-C", "again.yaml", "--show-config").out == shown.out
    assert yaml.safe_load(harness("bench", "-m", "share", "--show-config").out)["method"] == ["share"]
    assert not (tmp_path / "results").exists()


def test_a_launchers_variable_does_not_start_launchers_in_its_jobs(
    harness: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_RUN_LAUNCHER", "local")
    assert "exclude each other" not in harness("run", "-m", "nothing", "--shard", "0/1", "--probe", "none").err
    refused = harness("run", "-m", "nothing", "--shard", "0/1", "--launcher", "local")
    assert (refused.code, "exclude each other" in refused.err) == (2, True)


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_the_version(flag: str, harness: Callable[..., Any]) -> None:
    assert re.fullmatch(r"harness, version \S+\n", harness(flag).out)


def test_the_help_of_run_is_in_groups(harness: Callable[..., Any]) -> None:
    text = harness("run", "--help").out
    headings = re.findall(r"^([A-Z][\w ]+):$", text, flags=re.MULTILINE)
    assert headings == [
        *("What is run", "Data and protocol", "Training", "Device and processes", "Costs", "Output", "Options"),
    ]
    known = [option for words, option in options(cli) if words == ("run",) and not option.hidden]
    assert all(len(re.findall(rf"{max(one.opts, key=len)}\b(?!-)", text)) >= 1 for one in known)


def test_a_plan_says_what_each_cell_would_do_and_does_none(
    harness: Callable[..., Any], mini: tuple[object, ...], tmp_path: Path
) -> None:
    run = ("run", "-m", "multi-task", *mini)
    planned = harness(*run, "--dry-run")
    assert planned.code == 0
    assert re.search(r"multi-task on nyud, seed 0 +trains +joint 3 steps +.* \d+\.\d\n", planned.out)
    assert re.search(r"^1 cell, 0 complete; about .* MB for artifacts", planned.out, flags=re.MULTILINE)
    assert not (tmp_path / "out").exists()
    assert harness(*run, "--log-file", "logs/run.log").code == 0
    assert "nothing to do" in harness(*run, "--dry-run").out
    assert re.search(r"measures costs +memory", harness(*run, "--probe", "memory", "--dry-run").out)
    log = (tmp_path / "logs" / "run.log").read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO ", line) for line in log)
    assert "is complete in out/nyud/multi-task" in log[-1]


def test_a_failure_is_a_line_and_with_v_a_traceback(
    harness: Callable[..., Any], mini: tuple[object, ...], tmp_path: Path
) -> None:
    (tmp_path / "broken.py").write_text(METHOD)
    run = ("run", "-m", "broken", "--plugin", "broken.py", *mini)
    plain = harness(*run, "--log-file", "run.log")
    assert (plain.code, "Traceback" in plain.err, "no such luck" in plain.err) == (4, False, True)
    log = (tmp_path / "run.log").read_text()
    assert re.search(r"ERROR broken on nyud, seed 0: .*no such luck", log)
    assert 'raise ValueError("no such luck")' in log
    told = harness(*run, "-v")
    assert 'raise ValueError("no such luck")' in told.err
    assert (tmp_path / "run.log").read_text() == log, "the file of an earlier command is closed"
    assert "Traceback" not in harness(*run).err
