"""Facts of plug-ins that lists and cards show: read from their source, and equal to what their classes say."""

import sys
from pathlib import Path

import pytest

from harness import registry
from harness.errors import UsageError
from harness.registry.known import targets
from harness.registry.outline import Outline, UnreadableError

OF_METHODS = ("name", "summary", "paper", "is_reference", "families", "default_backbone", "__module__")


@pytest.mark.parametrize("name", registry.names("methods"))
def test_the_source_of_a_method_says_what_its_class_says(name: str) -> None:
    outline, cls = Outline(targets("methods")[name]), registry.load_method(name)
    assert {one: outline.value(one) for one in OF_METHODS} == {one: getattr(cls, one) for one in OF_METHODS}
    assert outline.value("Options").model_json_schema() == cls.Options.model_json_schema()


@pytest.mark.parametrize("name", registry.names("datasets"))
def test_the_source_of_a_data_set_says_what_an_object_says(name: str) -> None:
    outline, dataset = Outline(targets("datasets")[name]), registry.load_dataset(name)
    for one in ("name", "synthetic", "tasks", "card"):
        assert outline.value(one) == getattr(dataset, one), one


MODULE = '''
import torch_that_is_not_there
from harness.method import Method, MethodOptions
from .words import GREETING, Polite as Base

WHO = "world"
LIMIT = 3

def loud(text):
    return text.upper()

class Options(MethodOptions):
    """Options."""
    rank: int = LIMIT

class Mine(Base):
    name = "mine"
    summary = f"{GREETING}, {WHO}"
    families = tuple(family for family in ("vit", "swin") if family != "swin")
    Options = Options
    shouted = loud(WHO)
    computed = torch_that_is_not_there.word

class Other(elsewhere.Base):
    name = "other"
'''

WORDS = """
from typing import ClassVar
from harness.method import Method
GREETING = "hello"

class Polite(Method):
    paper: ClassVar[str] = "A. Author. On greetings"

    @property
    def both(self):
        return self.name + self.summary
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """An installed package with a method, whose module cannot be imported."""
    name = f"outside_{abs(hash(request.node.name))}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / name / "mine.py").write_text(MODULE)
    (tmp_path / name / "words.py").write_text(WORDS)
    info = tmp_path / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[harness.methods]\nmine = {name}.mine:Mine\n")
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_a_package_is_not_imported_for_what_its_source_says(package: str) -> None:
    assert registry.names("methods")[-1] == "mine"
    of = registry.described("methods", "mine")
    assert (of("summary"), of("paper"), of("families")) == ("hello, world", "A. Author. On greetings", ("vit",))
    assert of("Options").model_json_schema()["properties"]["rank"]["default"] == 3
    assert of("both") == "minehello, world"
    assert not any(name.startswith(package) for name in sys.modules)


@pytest.mark.parametrize("attribute", ["computed", "absent"])
def test_what_the_source_does_not_say_is_imported(package: str, attribute: str) -> None:
    with pytest.raises(UsageError, match=r"plug-in mine .*RuntimeError: imported"):
        registry.described("methods", "mine")(attribute)


def test_values_that_functions_make_are_made_where_they_need_nothing_else(package: str) -> None:
    assert Outline(f"{package}.mine:Mine").value("shouted") == "WORLD"


@pytest.mark.parametrize("target", ["nowhere.at_all:Mine", "json:loads", "json:absent"])
def test_what_is_no_class_with_a_source_is_unreadable(target: str) -> None:
    with pytest.raises(UnreadableError):
        Outline(target)


def test_an_unknown_name_answers_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean single-task"):
        registry.described("methods", "singletask")
