from pathlib import Path

import pytest

from harness.config import RunConfig, digest, parse_assignments
from harness.errors import UsageError


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
    ("budget", "init", "backbone", "pretrained"),
    [
        ("quick", None, "vit-micro", False),
        ("full", None, "vit-b16", True),
        ("full", "random", "vit-b16", False),
    ],
)
def test_defaults_follow_the_budget(budget: str, init: str | None, backbone: str, pretrained: bool) -> None:
    config = RunConfig.read(None, {"method": ["m"], "budget": budget, "init": init})
    assert (config.backbone_name, config.pretrained) == (backbone, pretrained)


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
