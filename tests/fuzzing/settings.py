"""Mutated settings: YAML files, options of the command line and plug-ins; read or refused in one line."""

import random
import string
from pathlib import Path

from fuzzing.mutate import mutated
from fuzzing.subjects import time_limit

from harness.config import BenchConfig, RunConfig, parse_assignments
from harness.errors import HarnessError
from harness.protocol import Protocol
from harness.registry import load_plugin
from harness.registry.known import GIVEN
from harness.run.configure import configure

YAML = b"""method: [share, multi-task]
dataset: [nyud-synth]
seed: [0, 1]
task: [semseg, depth]
input_size: 96x128
budget: quick
protocol_set: {depth_pool: image, nyud_classes: 40}
set: {share.rows: 0.25, density: 0.1}
save_every: 1.5
output: results/here
"""

PLUGIN = b"""from torch import nn
from harness.method import Method, MethodOptions, MultiTaskModel, Stage


class Options(MethodOptions):
    rank: int = 3


class Nothing(Method):
    name = "fuzzed"
    summary = "nothing"
    Options = Options

    def build(self, problem):
        return None

    def stages(self, problem, budget):
        return [Stage("joint", problem.names, 3, batch_size=2)]
"""

_VALUES = (
    "",
    "1",
    "-1",
    "1e999",
    ".nan",
    "~",
    "[",
    "{a: b}",
    "&a [*a]",
    "!!python/name:os.system",
    "2001-99-99",
    "0x",
    "=",
)
_KEYS = ("rows", "density", "share.rows", "mode", "nyud_classes", "depth_pool", "", "a.b.c", "\x00", "rows rows")


def attempt_yaml(seed: int, folder: Path) -> str:
    """Read a mutated YAML file as the settings of a command."""
    rng = random.Random(f"yaml {seed}")
    path = folder / "config.yaml"
    path.write_bytes(mutated(YAML, rng))
    kind = rng.choice((RunConfig, BenchConfig))
    return _outcome(lambda: kind.read(path, {}))


def attempt_options(seed: int) -> str:
    """Read random options of methods and of the protocol."""
    rng = random.Random(f"options {seed}")
    text = rng.choice(_VALUES) if rng.random() < 0.7 else "".join(rng.choices(string.printable, k=rng.randrange(40)))
    pair = f"{rng.choice(_KEYS)}{rng.choice(('=', '=', ' ', ''))}{text}"

    def read() -> None:
        values = parse_assignments((pair,), "--set")
        rng.choice(
            (lambda: configure(["share", "multi-task"], None, values), lambda: Protocol.profile("invpt", values))
        )()

    return _outcome(read)


def attempt_plugin(seed: int, folder: Path) -> str:
    """Load a plug-in whose source was changed; the source does nothing, so neither does what is left of it."""
    rng = random.Random(f"plugin {seed}")
    path = folder / f"plugin{seed}.py"
    path.write_bytes(mutated(PLUGIN, rng))
    try:
        return _outcome(lambda: load_plugin(str(path)))
    finally:
        for names in GIVEN.values():
            names.pop("fuzzed", None)
        path.unlink()


def _outcome(read: object) -> str:
    try:
        with time_limit():
            read()  # type: ignore[operator]
    except HarnessError as error:
        message = str(error)
        if "\n" in message or not message.strip() or len(message) > 1500:
            raise AssertionError(f"the message is no line for people: {message!r}") from error
        return message
    return "read"
