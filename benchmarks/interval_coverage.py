"""Coverage of the intervals of paired latency ratios, and false alarms of the gate, on simulated sessions.

Rounds have 5 % noise (log-normal), correlated from one to the next (autoregressive of order 1), with and without bursts
that make one round in twenty up to twice as long. Printed are, per correlation and number of rounds: how often the 95 %
interval of a ratio covers the truth, its mean width, and how often the gate finds a regression where there is none and
where the change is just the tolerance of 5 % (two sessions).

On 1000 sessions each, 40 to 240 rounds: coverage 0.93 to 0.97 up to a correlation of 0.8, with bursts or without; 0.90
to 0.97 at 0.9, 0.87 to 0.96 at 0.95. The gate at no change fires in at most 0.3 % of sessions, at exactly the tolerance
in 0.1 to 1.0 % up to a correlation of 0.9 and in up to 1.9 % at 0.95.

Usage: python benchmarks/interval_coverage.py [--sessions 1000]
"""

import argparse

import numpy as np

from harness.compare.slowdown import SESSION_DEVIATION, slowdown
from harness.probes.pairing import pair_means, ratio_interval

NOISE, TOLERANCE = 0.05, 1.05


def series(generator: np.random.Generator, rounds: int, correlation: float, bursts: bool) -> np.ndarray:
    """Return the log ratios of a session, [rounds], with median 0."""
    values = np.empty(rounds)
    values[0] = generator.normal()
    for place in range(1, rounds):
        fresh = generator.normal() * np.sqrt(1 - correlation**2)
        values[place] = correlation * values[place - 1] + fresh
    values *= NOISE
    if bursts:  # as often in either method, so that the median ratio stays 1
        hit = generator.random(rounds) < 0.05
        values += hit * generator.choice((-1, 1), rounds) * np.log1p(generator.random(rounds))
    return values


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=1000)
    options = parser.parse_args()
    generator = np.random.default_rng(0)
    print("bursts rounds correlation  coverage  width  gate: no change  at the tolerance")
    for bursts in (False, True):
        for rounds in (40, 66, 120, 240):
            for correlation in (0.0, 0.5, 0.8, 0.9, 0.95):
                covered, width, fired = 0, 0.0, [0, 0]
                for _ in range(options.sessions):
                    logs = series(generator, rounds, correlation, bursts)
                    _, low, high = ratio_interval([(value,) for value in np.exp(logs)], [(1.0,)] * rounds)
                    covered += low <= 1 <= high
                    width += (high - low) / options.sessions
                    other = series(generator, rounds, correlation, bursts)
                    shifts = generator.normal(0, SESSION_DEVIATION, 2)
                    head, base = pair_means(logs + shifts[0]), pair_means(other + shifts[1])
                    for place, change in enumerate((0.0, np.log(TOLERANCE))):
                        fired[place] += slowdown(head + change, base).low > TOLERANCE
                none, at = (100 * count / options.sessions for count in fired)
                print(
                    f"{bursts!s:6s} {rounds:6d} {correlation:11.2f} {covered / options.sessions:9.3f} {width:6.3f} "
                    f"{none:14.1f} % {at:15.1f} %",
                    flush=True,
                )


if __name__ == "__main__":
    main()
