"""Mutated inputs, many: of every kind of file that comes from outside, from images and archives to plug-ins.

The suite tries a few hundred of each kind with the same mutators (`tests/fuzzing`); this goes on where it stops. Every
input has to be read, or refused in one line, within 20 seconds; anything else is printed with its kind and seed.

Usage: python benchmarks/mutated_inputs.py [--inputs 20000] [--first 1000]
"""

import argparse
import io
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from fuzzing.predictions import attempt_predictions, sound_predictions
from fuzzing.records import attempt_record, sound_record
from fuzzing.settings import attempt_options, attempt_plugin, attempt_yaml
from fuzzing.subjects import SUBJECTS, attempt
from fuzzing.weights import attempt_artifact, attempt_checkpoint

from harness.method import save_artifact
from harness.problem import Problem, TaskSpec
from harness.registry import load_dataset, load_method

ROOT = Path(__file__).resolve().parents[1]
PROBLEM = Problem((TaskSpec("semseg", 3, ("a", "b", "c")), TaskSpec("depth")), (32, 48))


def main() -> None:
    """Try the inputs, the kinds in turns, and print how they ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=1000, help="first seed")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    began, ended, faults = time.monotonic(), Counter(), 0
    with tempfile.TemporaryDirectory() as folder:
        kinds = _kinds(Path(folder))
        for number in range(options.inputs):
            kind, call = list(kinds.items())[number % len(kinds)]
            seed = options.first + number // len(kinds)
            try:
                ended[kind, "read" if call(seed) == "read" else "refused"] += 1
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                faults += 1
                print(f"{kind}, seed {seed}: {type(error).__name__}: {str(error)[:200]}", flush=True)
    for kind in kinds:
        print(f"{kind:12s} {ended[kind, 'read']:6d} read {ended[kind, 'refused']:6d} refused")
    print(f"{options.inputs} inputs in {time.monotonic() - began:.0f} s, {faults} faults")
    sys.exit(4 if faults else 0)


def _kinds(folder: Path) -> dict[str, Callable[[int], str]]:
    """Return the attempt of every kind of input, by seed."""
    sound = {}
    for name in ("multi-task", "share"):
        cls = load_method(name)
        method = cls(cls.Options(), "vit-micro")
        (folder / name).mkdir()
        save_artifact(method, method.build(PROBLEM), folder / name)
        sound[name] = folder / name
    buffer = io.BytesIO()
    torch.save({"model": {f"layer{n}.weight": torch.ones(3, 4) for n in range(4)}, "epoch": 3}, buffer)
    places = {kind: folder / f"input-{kind}" for kind in (*SUBJECTS, "other")}
    for place in places.values():  # what is written beside the inputs is a fault
        place.mkdir()
    files = {kind: (lambda seed, kind=kind: attempt(kind, seed, places[kind])) for kind in SUBJECTS}
    other = places["other"]
    record, root = sound_record(ROOT), ROOT / "tests/golden/mini_NYUDv2"
    sound_predictions(load_dataset("nyud"), root, folder / "predictions")
    shutil.rmtree(folder / "predictions/boundary")  # its reader is saliency's, and its workers take seconds to start
    return {
        **files,
        "artifact": lambda seed: attempt_artifact(sound["multi-task"], seed, other),
        "share": lambda seed: attempt_artifact(sound["share"], seed, other),
        "checkpoint": lambda seed: attempt_checkpoint(buffer.getvalue(), seed, other),
        "yaml": lambda seed: attempt_yaml(seed, other),
        "options": attempt_options,
        "plugin": lambda seed: attempt_plugin(seed, other),
        "record": lambda seed: attempt_record(record, seed, other),
        "predictions": lambda seed: _predictions(seed, root, folder / "predictions", other),
    }


def _predictions(seed: int, root: Path, sound: Path, folder: Path) -> str:
    """Score mutated predictions; ``read`` if nothing was said of them."""
    return "refused" if attempt_predictions(load_dataset("nyud"), root, sound, seed, folder)[1] else "read"


if __name__ == "__main__":
    main()
