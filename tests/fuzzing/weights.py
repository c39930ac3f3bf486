"""Mutated checkpoints and artifacts, changed as bytes and, below their containers, as what they describe."""

import io
import json
import random
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from fuzzing.mutate import mutated

from harness.errors import HarnessError
from harness.method import accounting_of, load_artifact
from harness.run.configure import method_of
from harness.weights.artifact import digest_artifact, read_manifest
from harness.weights.state import read_state

_VALUES: tuple[Callable[[], Any], ...] = (
    *(lambda value=value: value for value in (None, True, -1, 0, 1, 3, 999, 10**9, 2**63, 10**400)),
    *(lambda value=value: value for value in (0.5, -0.0, 1e9, 1e308, float("nan"), float("inf"))),
    *(
        lambda value=value: value
        for value in ("", "x", "..", "../..", "semseg", "depth", "a\n[red]b", "\ud800", "y" * 300)
    ),
    *(lambda value=value: value for value in ("semseg", "depth", "share", "vit-b16", "fp16", "gaps", "channels")),
    lambda: [],
    lambda: {},
    lambda: [1, 2],
    lambda: {"evil": 1},
)


def mutated_values(content: Any, rng: random.Random) -> Any:
    """Change one to three values of JSON-like content: replaced, removed, added, doubled or exchanged."""
    held = json.loads(json.dumps(content))
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = list(_places(held))
        if not places:
            return rng.choice(_VALUES)()
        parent, key = rng.choice(places)
        match rng.randrange(6):
            case 0 if isinstance(parent, dict):
                del parent[key]
            case 1 if isinstance(parent, dict):
                parent[rng.choice(("evil", "name", "zz", str(key) + "x"))] = parent[key]
            case 2 if isinstance(parent, list):
                parent.append(parent[key])
            case 3:
                other, place = rng.choice(places)
                parent[key] = json.loads(json.dumps(other[place]))
            case _:
                parent[key] = rng.choice(_VALUES)()
    return held


def _places(content: Any) -> Any:
    """Yield every container with each of its keys."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in list(items):
        yield content, key
        yield from _places(value)


def mutated_json(data: bytes, rng: random.Random) -> bytes:
    """Mutate what a JSON file says."""
    if rng.random() < 0.05:
        return b"[" * 10**5
    return json.dumps(mutated_values(json.loads(data), rng)).encode()


def mutated_safetensors(data: bytes, rng: random.Random) -> bytes:
    """Mutate the header of a safetensors file, or set values to what is no number."""
    [size] = struct.unpack_from("<Q", data)
    header, body = data[8 : 8 + size], bytearray(data[8 + size :])
    if rng.random() < 0.3 and body:
        at = rng.randrange(len(body)) // 4 * 4
        body[at : at + 4] = struct.pack("<f", rng.choice((float("nan"), float("inf"), 1e38, -1.0)))
    else:
        header = mutated_json(header, rng)
    return struct.pack("<Q", len(header)) + header + bytes(body)


def mutated_pickle(data: bytes, rng: random.Random) -> bytes:
    """Mutate the pickle inside a checkpoint, and mend the checksums around it."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w") as target:
        for info in source.infolist():
            content = source.read(info)
            target.writestr(info.filename, mutated(content, rng) if info.filename.endswith(".pkl") else content)
    return out.getvalue()


def attempt_artifact(sound: Path, seed: int, folder: Path) -> str:
    """Load a copy of an artifact in which one file was changed.

    Returns:
        ``read``, or the message of the refusal.

    Raises:
        Exception: whatever escaped; that is a fault.
    """
    rng = random.Random(f"{sound.name} {seed}")
    copy = folder / "artifact"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(sound, copy)
    path = rng.choice(sorted(copy.iterdir()))
    change = mutated_json if path.suffix == ".json" else mutated_safetensors
    if rng.random() < 0.05:
        path.unlink()
    else:
        path.write_bytes((change if rng.random() < 0.7 else mutated)(path.read_bytes(), rng))

    def load() -> None:
        manifest = read_manifest(copy)
        method = method_of(manifest, copy)
        digest_artifact(copy)
        json.dumps(accounting_of(method).describe(copy), allow_nan=False)
        model = load_artifact(method, copy).eval()
        assert all(value.isfinite().all() for value in model.parameters())
        with torch.inference_mode():
            maps = model(torch.ones(1, 3, *model.problem.input_size))
        assert set(maps) == {task.name for task in manifest.problem()}

    return _outcome(load)


def attempt_checkpoint(sound: bytes, seed: int, folder: Path) -> str:
    """Read a changed checkpoint; as `attempt_artifact`."""
    rng = random.Random(f"checkpoint {seed}")
    zipped = sound.startswith(b"PK")
    path = folder / "changed.pth"
    path.write_bytes((mutated_pickle if zipped and rng.random() < 0.7 else mutated)(sound, rng))
    return _outcome(lambda: read_state(path))


def _outcome(load: Callable[[], object]) -> str:
    try:
        load()
    except HarnessError as error:
        message = str(error)
        if "\n" in message or not message.strip() or "weights_only" in message:
            raise AssertionError(f"the message is no line for people: {message!r}") from error
        return message
    return "read"
