"""CPU time of commands that compute nothing, from the start of the process to its end, beside their limits.

python benchmarks/startup.py [--repeats 5]
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from records import record

from harness.records import write_record

COMMAND, TAB = 0.6, 0.3
"""Limits in seconds of CPU."""


def cpu_seconds(words: list[str], environment: dict[str, str]) -> float:
    """Run a command once; return user and system seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "harness", *words], env=environment, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print the median of every command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        for name in ("single-task", "multi-task", "share"):
            one = record(name, (0.4, 0.6, 20.0, 0.7), run_id=f"nyud/{name}")
            write_record(one, Path(folder) / one.run_id)
        commands = [
            ["--help"],
            *(["ls", kind] for kind in ("methods", "datasets", "tasks", "backbones", "probes")),
            ["ls", "results", "-o", folder],
            *(["show", name] for name in ("share", "nyud", "depth", "vit-b16")),
            ["table", folder],
            ["table", "--published"],
            ["compare", folder, folder],
        ]
        completed = ["", "run -m ", "run -d ", "run -b ", "bench --probe ", "stream a b -t ", "show "]
        cases = [(f"harness {' '.join(words)}".replace(folder, "DIR"), words, {}, COMMAND) for words in commands]
        for text in completed:
            line = f"harness {text}"
            variables = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split())), "_HARNESS_COMPLETE": "bash_complete"}
            cases.append((f"{line}TAB", [], variables, TAB))
        print(f"{'command':40} {'CPU s':>7} {'limit':>6}")
        for title, words, variables, limit in cases:
            seconds = median(cpu_seconds(words, dict(os.environ) | variables) for _ in range(repeats))
            print(f"{title:40} {seconds:7.2f} {limit:6.1f}{'  over' if seconds > limit else ''}")


if __name__ == "__main__":
    main()
