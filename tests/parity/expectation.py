"""What a reference network gives under the deterministic weights, as it is kept in ``tests/golden/parity``.

One file per case, gzipped JSON: tasks and channels under the reference's names, the shape and seed of the input, the
number of parameters, the shape of every state-dict entry by key, the keys of buffers, and 128 values of every output.
"""

import gzip
import json
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

FOLDER = Path(__file__).resolve().parents[1] / "golden" / "parity"
SAMPLES = 128
COUNTER = "num_batches_tracked"


class Output(BaseModel):
    """Sampled values of one output: positions are (channel, row, column); the deviation is of the whole output."""

    model_config = ConfigDict(extra="forbid")

    deviation: float
    at: list[tuple[int, int, int]]
    values: list[float]


class Expectation(BaseModel):
    """One case. Outputs are named ``outputs/<task>``, intermediate predictions ``inter/<task>`` or as in their code."""

    model_config = ConfigDict(extra="forbid")

    tasks: dict[str, int]
    input: tuple[int, int, int, int]
    seed: int
    parameters: int
    state: dict[str, tuple[int, ...]]
    buffers: list[str]
    outputs: dict[str, Output]

    @classmethod
    def load(cls, case: str) -> Self:
        """Return the expectation of a case by its name."""
        return cls.model_validate_json(gzip.decompress((FOLDER / f"{case}.json.gz").read_bytes()))

    @classmethod
    def of_reference(cls, measured: dict[str, Any]) -> Self:
        """Return what is kept of a reference's full description: no counters of batches, every n-th sample."""
        entries = [entry for entry in sorted(measured["state_dict"]) if not entry[0].endswith(COUNTER)]
        return cls(
            tasks=measured["tasks"],
            input=measured["input"],
            seed=measured["input_seed"],
            parameters=measured["params"],
            state={key: shape for key, shape, *_ in entries},
            buffers=[key for key, *_, kind in entries if kind == "buffer"],
            outputs={name: _thinned(output) for name, output in measured["expected"].items()},
        )

    def save(self, case: str) -> None:
        """Write the file of a case; equal contents give equal bytes."""
        text = json.dumps(self.model_dump(mode="json"), separators=(",", ":"))
        (FOLDER / f"{case}.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


def _thinned(output: dict[str, Any]) -> Output:
    step = max(1, len(output["values"]) // SAMPLES)
    return Output(deviation=output["std"], at=output["chw"][::step], values=output["values"][::step])


def names() -> list[str]:
    """Return the names of all cases that are kept."""
    return sorted(path.name.removesuffix(".json.gz") for path in FOLDER.glob("*.json.gz"))
