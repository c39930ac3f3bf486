from pathlib import Path

import pytest

from harness.config import RunConfig, parse_assignments
from harness.errors import UsageError
from harness.files import digest
from harness.weights import WeightFile


def test_the_command_line_goes_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("method: [multi-task]\nbatch-size: 3\nlimit: 7\n")
    config = RunConfig.read(path, {"limit": 9})
    assert (config.method, config.batch_size, config.limit, config.seed) == (["multi-task"], 3, 9, [0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method: [a]\nlimmit: 3\n", "limmit"),
        ("method: [a]\nlimit: -1\n", "limit"),
        ("method: [a, a]\n", "same value twice"),
        ("- a\n", "mapping"),
        ("method: [a\n", "no valid YAML"),
        ("{}", "method"),
    ],
)
def test_a_bad_file_is_one_line_that_names_it(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        RunConfig.read(path, {})
    assert "run.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        RunConfig.read(tmp_path / "absent.yaml", {})


@pytest.mark.parametrize(
    ("budget", "init", "weights"),
    [
        ("quick", None, "own"),
        ("quick", "random", None),
        ("medium", None, None),
        ("quick", "pretrained", "pretrained"),
        ("full", None, "pretrained"),
        ("full", "random", None),
    ],
)
def test_the_start_of_the_encoders_follows_the_budget(budget: str, init: str | None, weights: str | None) -> None:
    config = RunConfig.read(None, {"method": ["m"], "budget": budget, "init": init})
    assert config.weights == weights


def test_the_start_of_the_encoders_may_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "encoder.pth"
    path.write_bytes(b"abc")
    weights = RunConfig.read(None, {"method": ["m"], "init": str(path)}).weights
    assert weights == WeightFile(path)
    assert weights.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(UsageError, match="absent: no such file; give random, pretrained or a file"):
        RunConfig.read(None, {"method": ["m"], "init": "absent"}).weights  # noqa: B018 - reading it checks it


def test_an_artifact_brings_its_weights() -> None:
    config = RunConfig.read(None, {"method": ["m"], "budget": "full", "checkpoint": "artifact"})
    assert config.weights is None
    with pytest.raises(UsageError, match="checkpoint and init exclude each other"):
        RunConfig.read(None, {"method": ["m"], "checkpoint": "artifact", "init": "pretrained"})


def test_assignments_are_typed_by_yaml() -> None:
    pairs = ("a=1", "b=0.5", "c=true", "d=text", "e=[1, 2]", "f.g=x=y")
    values = {"a": 1, "b": 0.5, "c": True, "d": "text", "e": [1, 2], "f.g": "x=y"}
    assert parse_assignments(pairs, "--set") == values


@pytest.mark.parametrize("pair", ["novalue", "=1", "a=[1"])
def test_a_bad_assignment_is_refused(pair: str) -> None:
    with pytest.raises(UsageError, match="--set"):
        parse_assignments((pair,), "--set")


def test_the_digest_depends_on_content_alone() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})
