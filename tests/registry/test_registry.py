import json
from pathlib import Path

import pytest

from harness import registry
from harness.errors import UsageError
from harness.method import Method
from harness.registry.known import GIVEN

PLUGIN = """
from harness.method import Method, Stage
from harness.baselines.multi_task import MultiTask

class Mine(MultiTask):
    name = "{name}"
    summary = "a method from outside"
"""


@pytest.fixture(autouse=True)
def forget_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in GIVEN:
        monkeypatch.setitem(GIVEN, kind, {})


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
    with pytest.raises(UsageError, match="known: atrc, cross-stitch, invpt, mlore"):
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


def test_an_edited_file_gives_its_names_again_and_another_file_may_not(tmp_path: Path) -> None:
    source = tmp_path / "mine.py"
    source.write_text(PLUGIN.format(name="mine"))
    registry.load_plugin(str(source))
    before = registry.source_digest(registry.load_method("mine"))
    source.write_text(PLUGIN.format(name="mine") + "\nEDITED = True\n")
    registry.load_plugin(str(source))
    assert registry.source_digest(registry.load_method("mine")) != before
    other = tmp_path / "elsewhere" / "mine.py"
    other.parent.mkdir()
    other.write_text(PLUGIN.format(name="mine"))
    with pytest.raises(UsageError, match="already taken"):
        registry.load_plugin(str(other))


def test_the_source_of_a_method_is_its_package_and_not_its_neighbours() -> None:
    sources = {name: registry.source_digest(registry.load_method(name)) for name in registry.names("methods")}
    assert len(set(sources.values())) == len(sources)


def test_a_package_counts_with_what_it_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    package = tmp_path / "outside_methods"
    (package / "parts").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "parts" / "__init__.py").write_text("")
    inner = "\n    def stages(self, *a):\n        from .parts import recipe\n        return []\n"
    (package / "mine.py").write_text(PLUGIN.format(name="packed") + inner)
    files = [package / "parts" / "recipe.py", package / "parts" / "deeper.py", package / "unrelated.py"]
    files[0].write_text("import importlib\nimportlib.import_module('outside_methods.parts.deeper')\n")
    for file in files[1:]:
        file.write_text("")
    registry.load_plugin("outside_methods.mine")
    cls = registry.load_method("packed")
    digests = []
    for changed in (None, *files):
        if changed is not None:
            changed.write_text("VALUE = 1\n" if changed != files[0] else files[0].read_text() + "VALUE = 1\n")
        registry.source_digest.cache_clear()
        digests.append(registry.source_digest(cls))
    assert len(set(digests)) == 3, "the recipe, what it imports, and not the unrelated file"
    assert digests[2] == digests[3]
