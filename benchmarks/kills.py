"""Kills at random moments: a run that was killed and repeated against one that was not disturbed.

Trains and measures `single-task` and `share` for a few steps on rendered scenes; each trial starts it in a new folder,
sends SIGKILL to its whole process group at a random moment, repeats the command to its end, and compares all records
(but for times, host and command) and all files of the artifacts with those of the undisturbed run.

With ``--signal TERM`` the run is asked to end instead; its exit code has to be 143 and it has to end within 10 seconds.

Usage: python benchmarks/kills.py [--trials 100] [--seed 0] [--signal KILL] [--workers 0]
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import torch

from harness.cli.main import main as harness

TIMES = {"created_at", "updated_at", "phases", "environment", "command", "warnings", "config", "config_hash"}
"""Fields that tell the moment or the place of a run, not its result."""


def main() -> None:
    """Run the trials and print one line for each that differs, then the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--signal", choices=["KILL", "TERM"], default="KILL")
    parser.add_argument("--workers", type=int, default=0)
    options = parser.parse_args()
    number = signal.Signals[f"SIG{options.signal}"]
    torch.set_num_threads(1)  # threads do not survive the fork of a trial
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        finish(start(whole, options.workers))  # the first run also renders the scenes and compiles
        again = Path(folder) / "again"
        began = time.monotonic()
        assert finish(start(again, options.workers)) == 0
        seconds = time.monotonic() - began
        expected = results(whole)
        assert results(again) == expected, "two undisturbed runs differ"
        print(f"undisturbed: {seconds:.1f} s, {len(expected)} values and files")
        equal = hit = slow = 0
        for trial in range(options.trials):
            place = Path(folder) / f"trial{trial}"
            child = start(place, options.workers)
            time.sleep(draw.uniform(0, seconds))
            os.killpg(child, number)
            asked = time.monotonic()
            code = finish(child)
            hit += code != 0
            if options.signal == "TERM" and code != 0 and (code != 143 or time.monotonic() - asked > 10):
                slow += 1
                print(f"trial {trial}: exit code {code} after {time.monotonic() - asked:.1f} s")
            code = finish(start(place, options.workers))
            found = results(place)
            equal += code == 0 and found == expected
            for key in sorted(expected.keys() | found.keys()):
                if found.get(key) != expected.get(key):
                    print(f"trial {trial}: {key}: {found.get(key)!r}, not {expected.get(key)!r}")
        print(f"{options.trials} trials, {hit} hit a run at work, {equal} ended with the undisturbed results")
        if options.signal == "TERM":
            print(f"{slow} took longer than 10 s or ended with another code than 143")
        if equal < options.trials or slow:
            sys.exit(4)


def start(output: Path, workers: int) -> int:
    """Start the command in a process group of its own and return its process id."""
    child = os.fork()
    if child:
        os.setpgid(child, child)
        return child
    os.setpgid(0, 0)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    command = "harness run -m single-task -m share -d nyud-synth -t semseg -t depth --iterations 4 --limit 4 --quiet"
    rest = f"--probe storage --probe macs --save-every 0 --workers {workers} -o {output}"
    sys.argv = [*command.split(), *rest.split()]
    code = 0
    try:
        harness()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    finally:
        os._exit(code or 0)


def finish(child: int) -> int:
    """Wait for a command and return its exit code; minus the signal where one ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def results(output: Path) -> dict[str, object]:
    """Return the values of all records and the bytes of all artifacts below a results folder."""
    found: dict[str, object] = {}
    for path in output.rglob("record.json"):
        record = json.loads(path.read_text())
        found |= {f"{record['method']['name']}.{key}": value for key, value in record.items() if key not in TIMES}
    for path in output.rglob("artifact/**/*"):
        if path.is_file():
            found[path.relative_to(output).as_posix()] = hash(path.read_bytes())
    return found


if __name__ == "__main__":
    main()
