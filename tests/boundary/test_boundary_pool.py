"""Counting in worker processes."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from harness.boundary import BoundaryPool, BoundaryRule, count_image, ground_truth
from harness.errors import DataError, HarnessError, UsageError

RULE = BoundaryRule(0.011)


def images(n):
    rng = np.random.default_rng(11)
    for k in range(n):
        shape = (30 + 3 * k, 50)
        labels = np.repeat(np.repeat(rng.integers(0, 3, (9, 5)), 10, axis=0), 10, axis=1)[: shape[0]]
        yield f"{k:04}", rng.integers(0, 256, shape, dtype=np.uint8), ground_truth(labels)


def as_arrays(results):
    return [(name, [c.cnt_r.tolist(), c.sum_r.tolist(), c.cnt_p.tolist(), c.sum_p.tolist()]) for name, c in results]


def test_one_and_four_processes_give_the_integers_of_this_one_in_order():
    alone = as_arrays((name, count_image(picture, gt, RULE)) for name, picture, gt in images(10))
    for processes in (1, 4):
        with BoundaryPool(RULE, processes) as pool:
            for image in images(10):
                pool.submit(*image)
            assert as_arrays(pool.results()) == alone


def test_results_can_be_drained_while_images_come_in():
    with BoundaryPool(RULE, 1) as pool:
        names = []
        for name, picture, gt in images(3):
            pool.submit(name, picture, gt)
            names += [done for done, _ in pool.results()]
        assert list(pool.results()) == []
    assert names == ["0000", "0001", "0002"]


def test_a_refused_image_is_named_and_the_others_are_counted():
    with BoundaryPool(RULE, 1) as pool:
        pool.submit("good", np.zeros((8, 9), dtype=np.uint8), np.zeros((8, 9), dtype=bool))
        pool.submit("bad", np.zeros((8, 9), dtype=np.uint8), np.zeros((9, 8), dtype=bool))
        pool.submit("later", np.zeros((8, 9), dtype=np.uint8), np.zeros((8, 9), dtype=bool))
        results = pool.results()
        assert next(results)[0] == "good"
        with pytest.raises(DataError, match=r"bad: .*\(8, 9\)"):
            next(results)
        assert [name for name, _ in pool.results()] == ["later"]


class Evaluated:
    """Becomes the value of an expression when the worker reads it."""

    def __init__(self, expression):
        self.expression = expression

    def __reduce__(self):
        return eval, (self.expression,)


def test_workers_import_no_torch():
    loaded = "__import__('numpy').full((9, 9), float('torch' in __import__('sys').modules))"
    with BoundaryPool(BoundaryRule.plain(0.011), 1) as pool:
        pool.submit("torch", Evaluated(loaded), np.ones((9, 9), dtype=bool))
        pool.submit("yes", Evaluated("__import__('numpy').ones((9, 9))"), np.ones((9, 9), dtype=bool))
        (_, torch), (_, yes) = pool.results()
    assert yes.sum_p.any()
    assert not torch.sum_p.any()


def test_the_package_imports_no_torch():
    check = "import sys, harness.boundary; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_a_worker_that_dies_is_an_error_and_not_a_wait():
    with BoundaryPool(RULE, 1) as pool:
        pool.submit("fatal", Evaluated("__import__('os')._exit(7)"), np.ones((9, 9), dtype=bool))
        with pytest.raises(HarnessError, match=r"fatal: .* died .exit code 7."):
            list(pool.results())


def test_leaving_by_an_exception_ends_the_processes_at_once():
    def stumble():
        with BoundaryPool(RULE, 2) as pool:
            for k in range(4):
                pool.submit(str(k), Evaluated("__import__('time').sleep(600)"), np.ones((9, 9), dtype=bool))
            raise ZeroDivisionError

    began = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        stumble()
    assert time.monotonic() - began < 300  # the images would have taken 1200 s
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("boundary")]


def test_submitting_waits_when_the_queue_is_full():
    pool = BoundaryPool(RULE, 1)
    entered = threading.Event()

    def fill():
        with contextlib.suppress(RuntimeError):  # the pool is aborted meanwhile
            for k in range(100):
                pool.submit(str(k), Evaluated("__import__('time').sleep(600)"), np.ones((9, 9), dtype=bool))
                if k == 3:
                    entered.set()

    filler = threading.Thread(target=fill, daemon=True)
    filler.start()
    assert entered.wait(60)
    filler.join(0.2)
    assert filler.is_alive()
    assert len(pool._pending) < 20
    pool.abort()
    filler.join(60)
    assert not filler.is_alive()


INTERRUPTED = """
import numpy as np
from harness.boundary import BoundaryPool, BoundaryRule
with BoundaryPool(BoundaryRule(0.011), 2) as pool:
    pool.submit("one", np.zeros((8, 9), dtype=np.uint8), np.zeros((8, 9), dtype=bool))
    list(pool.results())
    print(*[worker._process.pid for worker in pool._workers], flush=True)
    import time
    time.sleep(600)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
def test_an_interrupt_ends_the_processes(tmp_path):
    # A plain script without a main guard: workers must not import it.
    script = tmp_path / "script.py"
    script.write_text(INTERRUPTED)
    process = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a background job ignores it
    )
    workers = [int(pid) for pid in process.stdout.readline().split()]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors
    assert len(workers) == 2
    for pid in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_pool_has_a_worker():
    with pytest.raises(UsageError, match="at least 1"):
        BoundaryPool(RULE, 0)
