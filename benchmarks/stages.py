"""Wall clock of a training whose stages run one after the other, and side by side in two processes.

Usage: python benchmarks/stages.py [-m share] [--iterations 60] [--rounds 1]. Prints JSON. Both use the same number of
threads per process, so that the artifacts are equal byte for byte, which is checked. The machine should be quiet.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def timed(words: list[str], out: Path) -> tuple[float, dict[str, bytes]]:
    """Return the seconds of a run and the files of its artifact."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "harness", "run", *words, "-o", str(out)], check=True, stdout=sys.stderr)
    seconds = time.perf_counter() - start
    [folder] = out.glob("*/*/artifact")
    return seconds, {path.name: path.read_bytes() for path in folder.iterdir()}


def main() -> None:
    """Time both and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-m", "--method", default="share")
    parser.add_argument("-d", "--dataset", default="nyud-synth")
    parser.add_argument("--iterations", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    words = ["-m", given.method, "-d", given.dataset, "--iterations", str(given.iterations), "--probe", "none", "-q"]
    rounds = []
    for _ in range(given.rounds):
        with tempfile.TemporaryDirectory() as place:
            serial, one = timed(words, Path(place) / "serial")
            side, two = timed([*words, "--launcher", "local", "--jobs", "2"], Path(place) / "side")
        load = os.getloadavg()[0]
        rounds.append({"serial_s": serial, "side_by_side_s": side, "ratio": serial / side, "load": load})
        assert one == two, "the artifacts differ"
    print(json.dumps({"method": given.method, "iterations": given.iterations, "rounds": rounds}, indent=1))


if __name__ == "__main__":
    main()
