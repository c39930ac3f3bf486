import json
from pathlib import Path

import pytest

from harness import registry
from harness.errors import UsageError
from harness.method import Method

PLUGIN = """
from harness.method import Method, Stage
from harness.baselines.multi_task import MultiTask

class Mine(MultiTask):
    name = "{name}"
    summary = "a method from outside"
"""


@pytest.fixture(autouse=True)
def forget_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_given", {"methods": {}, "datasets": {}})


def test_every_registered_method_loads_and_carries_its_name() -> None:
    for name in registry.names("methods"):
        cls = registry.load_method(name)
        assert issubclass(cls, Method)
        assert cls.name == name
        assert cls.summary


def test_every_registered_dataset_loads_and_carries_its_name() -> None:
    for name in registry.names("datasets"):
        assert registry.load_dataset(name).name == name


@pytest.mark.parametrize(("wrong", "near"), [("singletask", "single-task"), ("nyu", "nyud")])
def test_an_unknown_name_answers_with_the_nearest(wrong: str, near: str) -> None:
    load = registry.load_dataset if near == "nyud" else registry.load_method
    with pytest.raises(UsageError, match=f"did you mean .*{near}"):
        load(wrong)


def test_a_name_like_no_other_answers_with_all() -> None:
    with pytest.raises(UsageError, match="known: cross-stitch, invpt, mtan"):
        registry.load_method("zzzzzzzz")


def test_a_plugin_file_is_registered(tmp_path: Path) -> None:
    source = tmp_path / "mine.py"
    source.write_text(PLUGIN.format(name="mine"))
    assert registry.load_plugin(str(source)) == ["mine"]
    assert registry.load_plugin(str(source)) == ["mine"], "loading it twice is no collision"
    assert "mine" in registry.names("methods")
    assert registry.load_method("mine").summary == "a method from outside"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (PLUGIN.format(name="single-task"), "already taken"),
        ("x = 1", "defines no method"),
        ("import nowhere_to_be_found", "ModuleNotFoundError"),
        ("def broken(:", "SyntaxError"),
    ],
)
def test_a_bad_plugin_is_one_clear_line(content: str, message: str, tmp_path: Path) -> None:
    source = tmp_path / f"bad{abs(hash(message))}.py"
    source.write_text(content)
    with pytest.raises(UsageError, match=message) as caught:
        registry.load_plugin(str(source))
    assert "\n" not in str(caught.value)


def test_a_missing_plugin_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        registry.load_plugin(str(tmp_path / "absent.py"))


def test_options_schema_is_json() -> None:
    for name in registry.names("methods"):
        json.dumps(registry.load_method(name).Options.model_json_schema())
