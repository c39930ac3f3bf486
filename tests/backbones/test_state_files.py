"""Checkpoints as training scripts write them: found inside their wrappers, read without running anything."""

import argparse
import collections
import datetime
import decimal
import enum
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness.errors import UsageError
from harness.weights.state import read_state

STATE = {"stem.weight": torch.arange(6.0).view(2, 3), "stem.bias": torch.tensor([0.5, -1.0]), "n": torch.tensor(3)}


class Thing:
    """Whatever a training script may have pickled."""


class Config(dict[str, Any]):
    """A dictionary of a kind that only its own program knows."""


class Phase(enum.Enum):
    SECOND = 2


class Smuggled:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call[0], self.call[1:]


def renamed(old: str, new: str, state: dict[str, Tensor] = STATE) -> dict[str, Tensor]:
    return {key.replace(old, new) if old else f"{new}{key}": value for key, value in state.items()}


READ: dict[str, tuple[object, tuple[str, ...]]] = {
    "plain": (STATE, ()),
    # Levels around a network
    "parallel": (renamed("", "module."), ()),
    "compiled": (renamed("", "_orig_mod."), ()),
    "compiled, then parallel": (renamed("", "module._orig_mod."), ()),
    "parallel, then compiled": ({"model": renamed("", "_orig_mod.module.")}, ()),
    "a part compiled": (renamed("stem.", "stem._orig_mod."), ()),
    "sharded": (renamed("stem.", "_fsdp_wrapped_module.stem._fsdp_wrapped_module."), ()),
    "averaged": ({"n_averaged": torch.tensor(9), **renamed("", "module.")}, ()),
    "averaged and parallel": ({"n_averaged": torch.tensor(9), **renamed("", "module.module.")}, ()),
    # Entries
    "model_state_dict": (
        {"model_state_dict": STATE, "optimizer_state_dict": {}, "epoch": 1},
        ("ignored beside model_state_dict: epoch, optimizer_state_dict",),
    ),
    "state_dict_ema": ({"state_dict_ema": STATE, "arch": "vit"}, ("ignored beside state_dict_ema: arch",)),
    "ema": ({"ema": renamed("", "module.")}, ()),
    "a name of its own": ({"encoder_q": STATE, "epoch": 3}, ("ignored beside encoder_q: epoch",)),
    "nested": ({"model": {"state_dict": STATE}, "step": 1}, ()),
    "nested twice": (
        {"checkpoint": {"model_state_dict": STATE, "epoch": 1}},
        ("ignored beside checkpoint.model_state_dict: epoch",),
    ),
    "trained and averaged": (
        {"model_ema": renamed("", "x."), "model": STATE},
        ("ignored beside model: model_ema (weights, too)",),
    ),
    "next to an optimiser with names": (
        {"net": STATE, "optim": {"stem.weight": torch.ones(2, 3)}},
        ("ignored beside net: optim",),
    ),
    "next to results": ({"net": STATE, "best": {"miou": torch.tensor(0.5)}}, ("ignored beside net: best",)),
    # Objects next to the weights
    "arrays": (
        {"model": STATE, "a": np.zeros((3, 3)), "b": np.array(["x"]), "c": np.array([None, {}], dtype=object)},
        ("ignored beside model: a, b, c",),
    ),
    "random states": (
        {
            "model": STATE,
            "numpy": np.random.get_state(),  # noqa: NPY002 - as scripts store it
            "torch": torch.get_rng_state(),
        },
        ("ignored beside model: numpy, torch",),
    ),
    "containers": (
        {
            "model": STATE,
            "a": collections.defaultdict(list, {"loss": [1.0]}),
            "b": collections.deque([1, 2], maxlen=3),
            "c": collections.Counter("aab"),
            "d": collections.OrderedDict(x=1),
            "e": [frozenset([1]), {1, 2}, slice(1, 2), range(3)],
        },
        ("ignored beside model: a, b, c, d, e",),
    ),
    "paths and arguments": (
        {
            "model": STATE,
            "args": argparse.Namespace(out=Path("/x/y"), seed=np.int32(1)),
            "config": types.SimpleNamespace(lr=decimal.Decimal("0.1")),
        },
        ("ignored beside model: args, config",),
    ),
    "dates and versions": (
        {
            "model": STATE,
            "at": datetime.datetime.now(datetime.UTC),
            "took": datetime.timedelta(1),
            "torch": torch.__version__,
        },
        ("ignored beside model: at, took, torch",),
    ),
    # Weights that are no tensors
    "weights in arrays": ({"model": {key: value.numpy() for key, value in STATE.items()}}, ()),
    "weights in arrays of columns": (
        {key: value.numpy().astype(">f4", order="F") for key, value in STATE.items()},
        (),
    ),
}
SCALARS = (
    *(np.int8(1), np.int16(3), np.int64(1), np.uint8(255), np.bool_(True), np.float16(0.5), np.float32(2.0)),
    *(np.longdouble(2), np.complex64(1), np.str_("x"), np.bytes_(b"x"), np.datetime64("2020-01-01")),
)


def test_settings_of_other_libraries_next_to_weights_are_not_rebuilt(tmp_path: Path) -> None:
    """MTLoRA keeps yacs's settings in its files, and Lightning has a dictionary of its own."""
    for module, name in (("yacs.config", "CfgNode"), ("pytorch_lightning.utilities.parsing", "AttributeDict")):
        kind = type(name, (dict,), {"__module__": module})
        fakes = {part: types.ModuleType(part) for part in (module.split(".")[0], module)}
        setattr(fakes[module], name, kind)
        settings = kind(lr=0.1, inner=kind(depths=[2, 2]))
        settings.frozen = True
        with mock.patch.dict(sys.modules, fakes):
            torch.save({"model": STATE, "config": settings, "max_accuracy": 0.5}, tmp_path / "c.pth")
        found = read_state(tmp_path / "c.pth")
        assert found.state.keys() == STATE.keys()
        assert found.notes == ("ignored beside model: config, max_accuracy",)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("case", READ)
def test_weights_are_found_and_read(case: str, zipped: bool, tmp_path: Path) -> None:
    content, notes = READ[case]
    torch.save(content, tmp_path / "c.pth", _use_new_zipfile_serialization=zipped)
    found = read_state(tmp_path / "c.pth")
    assert found.notes == notes
    assert found.state.keys() == STATE.keys()
    for key, value in STATE.items():
        assert found.state[key].shape == value.shape
        assert torch.equal(found.state[key].double(), value.double())


@pytest.mark.parametrize("scalar", SCALARS, ids=lambda scalar: type(scalar).__name__)
def test_numbers_of_numpy_may_stand_next_to_the_weights(scalar: object, tmp_path: Path) -> None:
    torch.save({"state_dict": STATE, "best": {"value": scalar}}, tmp_path / "c.pth")
    assert read_state(tmp_path / "c.pth").state.keys() == STATE.keys()


ALONE = "save them alone where the file is made, with torch.save(content"
REFUSED: dict[str, tuple[object, str]] = {
    "several": (
        {"generator": STATE, "discriminator": STATE},
        f"generator and discriminator: {ALONE}['generator']",
    ),
    "several, nested": ({"nets": {"a": STATE, "b": STATE}}, f"nets.a and nets.b: {ALONE}['nets']['a']"),
    "an object": ({"model": STATE, "x": Thing()}, f"test_state_files.Thing, and only tensors .* under model: {ALONE}"),
    "a dictionary": ({"net": STATE, "x": Config(a=1)}, f"Config, and only tensors and plain values .* net: {ALONE}"),
    "a constant": ({"state_dict": STATE, "x": Phase.SECOND}, f"test_state_files.Phase .* under state_dict: {ALONE}"),
    "two kinds": ({"a": STATE, "x": Thing(), "y": Phase.SECOND}, f"only tensors .* under a: {ALONE}"),
    "a module": (nn.Linear(1, 1), "torch.nn.modules.linear.Linear .* torch.save(model.state_dict(), ...)"),
    "a module, averaged": ({"model": nn.Linear(1, 1), "ema": STATE}, f"linear.Linear .* under ema: {ALONE}['ema']"),
    "a command": ({"model": STATE, "x": Smuggled(os.system, "touch executed")}, "a pickled posix.system"),
    "an expression": ({"model": STATE, "x": Smuggled(eval, "open('executed', 'w')")}, "a pickled eval"),
    "a program": ({"model": STATE, "x": Smuggled(exec, "open('executed', 'w')")}, "a pickled exec"),
    "a getter": ({"model": STATE, "x": Smuggled(getattr, "a", "b")}, "a pickled getattr"),
    "a number among weights": ({"model": {**STATE, "epoch": 3}}, "no state dict, 'epoch' is of type int"),
    "an object among weights": ({"model": {**STATE, "x": np.int64(3)}}, "no state dict, 'x' is a pickled object"),
    "dates as weights": ({"a": np.array(["2020"], "M8[D]")}, "no state dict, 'a' is a pickled object"),
    "a sparse weight": ({"model": {"a": torch.eye(2).to_sparse()}}, "'a' is a tensor without plain values"),
    "a weight that fills the memory": (
        {"model": {"pos_embed": torch.zeros(1, 1, 192).expand(1, 10**8 + 1, 192)}},
        "'pos_embed' of [1, 100000001, 192] has values for 768 bytes alone",
    ),
    "a weight without values": ({"a": torch.ones(2, device="meta")}, "'a' is a tensor without plain values"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_named_with_a_way_out(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content, message = REFUSED[case]
    torch.save(content, "c.pth")
    with pytest.raises(UsageError) as caught:
        read_state(Path("c.pth"))
    said = str(caught.value)
    assert all(part in said for part in message.split(" .* ")), said
    assert "\n" not in said
    assert "weights_only" not in said, "nobody is advised to unpickle"
    assert not Path("executed").exists()


def test_a_program_of_torchscript_is_named(tmp_path: Path) -> None:
    torch.jit.trace(nn.Linear(1, 1), torch.ones(1, 1)).save(tmp_path / "c.pt")  # type: ignore[no-untyped-call]
    with pytest.raises(UsageError, match="it is a TorchScript program"):
        read_state(tmp_path / "c.pt")


def test_a_dictionary_that_holds_itself_is_no_endless_search(tmp_path: Path) -> None:
    content: dict[str, object] = {"epoch": 1}
    content["model"] = content
    torch.save(content, tmp_path / "c.pth")
    with pytest.raises(UsageError, match="no state dict"):
        read_state(tmp_path / "c.pth")


def test_names_that_would_become_one_are_left(tmp_path: Path) -> None:
    state = {"a.weight": torch.ones(1), "_orig_mod.a.weight": torch.zeros(1)}
    torch.save(state, tmp_path / "c.pth")
    assert read_state(tmp_path / "c.pth").state.keys() == state.keys()


def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "c.pth")
    with pytest.raises(UsageError, match="no such file, or a pipe or socket"):
        read_state(tmp_path / "c.pth")
