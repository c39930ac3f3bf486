"""Processes that train and evaluate one cell together: rank, world, sums, gathers, and what becomes of a lost one.

A launcher such as ``torchrun`` starts them and sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT. In one process every
function here does nothing, and ``torch.distributed`` is not touched.

The objective of W processes is the sum of their totals, and `average_gradients` divides its gradient by W. A loss that
was summed is the same total W times over, so that its gradient comes out as that of one process; a parameter that acts
after the sum (an uncertainty that weighs the loss) has its gradient W times and is divided by W as well.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from harness.errors import HarnessError, MethodError, UsageError

_T = TypeVar("_T")

TIMEOUT = 1800.0
"""Seconds that a process waits for another one: more than process 0 needs alone between two exchanges."""

_BUCKET_BYTES = 25 * 2**20
"""Gradients sent at once: large enough for the bandwidth of a network, small beside the model."""

_PATIENCE = 3.0
"""Seconds in which a process that lives says so after another one was lost."""

_ALIKE = 10.0
"""Seconds in which the others come to the same failure, if it is one of all processes."""


class ProcessLostError(MethodError):
    """Another process of this cell died, failed or does not answer; nothing can be exchanged any more."""


@dataclass
class Processes:
    """Processes of a cell, as one of them sees them.

    Attributes:
        rank: Number of this one, from 0.
        world: Number of all.
        backend: ``gloo`` or ``nccl``; None for one process.
        launcher: Name of what started them.
        store: Small values that all can read and write, even when one is lost.
    """

    rank: int = 0
    world: int = 1
    backend: str | None = None
    launcher: str | None = None
    store: Any = None


_processes = Processes()


def rank() -> int:
    """Return the number of this process."""
    return _processes.rank


def world() -> int:
    """Return the number of processes that share the cell."""
    return _processes.world


def leading() -> bool:
    """Return whether this process writes files and speaks for all."""
    return _processes.rank == 0


def described() -> dict[str, object]:
    """Return what a record says of the processes; empty for one."""
    if world() == 1:
        return {}
    held = _processes
    return {"processes": {"world": held.world, "backend": held.backend, "launcher": held.launcher}}


@contextlib.contextmanager
def joined(device: str | None = None, timeout: float | None = None) -> Iterator[None]:
    """Join the processes that a launcher has started while the block runs; alone, do nothing.

    Args:
        device: ``--device``; ``cpu`` exchanges by gloo alone, None prefers NCCL where there are GPUs.
        timeout: Seconds to wait for another process; None for `TIMEOUT`, or HARNESS_PROCESS_TIMEOUT.

    Raises:
        UsageError: the launcher's variables make no sense, or the processes do not find each other.
    """
    global _processes
    names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    given = [os.environ.get(name, "") for name in names]
    if "" in given or given[1] == "1" or world() > 1:
        yield
        return
    place = " ".join(f"{name}={value}" for name, value in zip(names, given, strict=True))
    if not (given[0].isdigit() and given[1].isdigit() and int(given[0]) < int(given[1])):
        raise UsageError(f"{place}: no rank below a number of processes; start them with torchrun")
    if timeout is None:
        timeout = float(os.environ.get("HARNESS_PROCESS_TIMEOUT") or TIMEOUT)
    from torch import distributed
    from torch.distributed.rendezvous import rendezvous

    gpu = torch.cuda.is_available() and not (device or "cuda").startswith("cpu")
    if gpu:  # each process of a machine has a GPU of its own
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    # gloo beside NCCL: small values of the CPU are exchanged without waiting for the GPU.
    backend, patience = "cpu:gloo,cuda:nccl" if gpu else "gloo", timedelta(seconds=timeout)
    try:
        store, number, count = next(rendezvous("env://", timeout=patience))
        distributed.init_process_group(backend, store=store, rank=number, world_size=count, timeout=patience)
    except (RuntimeError, ValueError) as error:
        raise UsageError(f"{place}: the processes do not find each other ({_first_line(error)})") from error
    _processes = Processes(number, count, "nccl" if gpu else "gloo", _launcher(), store)
    try:
        yield
    finally:
        _processes = Processes(rank=number)  # what is left is for process 0, and it alone speaks
        _disconnect()


def _launcher() -> str:
    known = {"TORCHELASTIC_RUN_ID": "torchrun", "ACCELERATE_USE_CPU": "accelerate", "SLURM_PROCID": "slurm"}
    return next((name for variable, name in known.items() if variable in os.environ), "environment")


def _disconnect() -> None:
    """Close the connections; a process that waits for this one gets an error at once."""
    from torch import distributed

    with contextlib.suppress(RuntimeError, AssertionError, ValueError):
        distributed.destroy_process_group()


def summed(value: Tensor) -> Tensor:
    """Return the sum of a tensor over the processes, the same in all of them; its gradient is summed as well."""
    return value if world() == 1 else _Sum.apply(value)  # type: ignore[no-untyped-call]


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return _reduced(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _reduced(gradient)


def _reduced(value: Tensor) -> Tensor:
    from torch import distributed

    total = value.detach().clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(total)
    return total


def average_gradients(parameters: Iterable[nn.Parameter], stop: bool = False) -> bool:
    """Average the gradients over the processes in place; return whether any of them asks to stop after this step.

    The order of the sums is fixed, so that a resumed training repeats the bits of an undisturbed one; DDP orders its
    buckets by the first backward pass of a process. A parameter without gradient in all processes stays without.

    Args:
        parameters: The same in all processes.
        stop: Whether this one asks to stop.
    """
    if world() == 1:
        return stop
    from torch import distributed

    trained = [parameter for parameter in parameters if parameter.requires_grad]
    # 1. Who has which gradient, and who wants to stop, in one exchange on the CPU. [parameters + 1]
    held = torch.tensor([*(parameter.grad is not None for parameter in trained), stop], dtype=torch.uint8)
    distributed.all_reduce(held, op=distributed.ReduceOp.MAX)
    gradients: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for parameter, present in zip(trained, held.tolist(), strict=False):
        if present:
            if parameter.grad is None:  # none of this process's images came by
                parameter.grad = torch.zeros_like(parameter)
            gradients.setdefault((parameter.dtype, parameter.device), []).append(parameter.grad)
    # 2. Flat buckets of one type, all on their way at once.
    sent = []
    for same in gradients.values():
        for bucket in _buckets(same):
            flat = torch.cat([gradient.flatten() for gradient in bucket])
            sent.append((bucket, flat, distributed.all_reduce(flat, async_op=True)))
    for bucket, flat, work in sent:
        work.wait()
        flat /= world()
        for gradient, mean in zip(bucket, torch.split(flat, [one.numel() for one in bucket]), strict=True):
            gradient.copy_(mean.view_as(gradient))
    return bool(held[-1])


def _buckets(gradients: list[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    size = 0
    for gradient in gradients:
        bucket.append(gradient)
        size += gradient.numel() * gradient.element_size()
        if size >= _BUCKET_BYTES:
            yield bucket
            bucket, size = [], 0
    if bucket:
        yield bucket


def gathered(value: _T) -> list[_T] | None:
    """Return the values of all processes by rank in process 0; None in the others. They travel as pickles."""
    if world() == 1:
        return [value]
    from torch import distributed

    found: list[Any] | None = [None] * world() if leading() else None
    distributed.gather_object(value, found)
    return found


def led(function: Callable[[], _T]) -> _T:
    """Call a function in process 0 alone and return its result in all; what it raises is raised in all.

    Both travel as pickles.
    """
    if world() == 1:
        return function()
    from torch import distributed

    message: list[Any] = [None, None]
    raised: BaseException | None = None
    if leading():
        try:
            message[0] = function()
        except Exception as error:
            raised, message[1] = error, error if isinstance(error, HarnessError) else MethodError(_first_line(error))
    distributed.broadcast_object_list(message, src=0)
    if raised is not None:
        raise raised
    if message[1] is not None:
        raise message[1]
    result: _T = message[0]
    return result


def barrier() -> None:
    """Wait until all processes are here."""
    if world() > 1:
        from torch import distributed

        distributed.barrier()


def lost(error: BaseException) -> ProcessLostError | None:
    """Return the error for users if an exchange failed; None for any other exception.

    The processes that live say so, and the others are named: those that failed with what they said.
    """
    if world() == 1 or isinstance(error, HarnessError) or not isinstance(error, RuntimeError):
        return None
    text = str(error)
    from torch import distributed

    kinds = (distributed.DistError,)
    if not isinstance(error, kinds) and not any(word in text for word in ("gloo", "NCCL", "Connection closed")):
        return None
    _disconnect()
    return ProcessLostError(f"{_missing(text)}; repeat the command to go on from the last checkpoint")


def _missing(text: str) -> str:
    """Return in words which processes are lost, after they had time to say that they live."""
    store, own, count = _processes.store, rank(), world()
    others = [number for number in range(count) if number != own]
    try:
        store.set(f"harness/alive/{own}", "1")
        end = time.monotonic() + _PATIENCE
        silent = others
        while silent and time.monotonic() < end:
            time.sleep(0.05)
            silent = [number for number in silent if not store.check([f"harness/alive/{number}"])]
        said = {
            number: store.get(f"harness/fault/{number}").decode()
            for number in others
            if store.check([f"harness/fault/{number}"])
        }
    except (RuntimeError, ConnectionError):  # the store died with the process that held it
        return f"a process of {count} is lost, most likely process 0 ({_first_line(text)})"
    if said:
        return "; ".join(f"process {number} of {count} failed: {fault}" for number, fault in said.items())
    names = " and ".join(map(str, silent)) or "of another machine"
    return f"process {names} of {count} died or does not answer, most often for want of memory ({_first_line(text)})"


def apart(error: HarnessError, cell: str) -> bool:
    """Return whether a failure of a cell is not that of all processes, so that they can go on together no more.

    Args:
        error: What this process raised.
        cell: Name of the cell, the same in all processes.
    """
    if world() == 1:
        return False
    if isinstance(error, ProcessLostError):
        return True
    store = _processes.store
    with contextlib.suppress(RuntimeError, ConnectionError):
        store.set(f"harness/fault/{rank()}", str(error))
        store.set(f"harness/failed/{cell}/{rank()}", "1")
        end = time.monotonic() + _ALIKE
        while time.monotonic() < end:
            if store.check([f"harness/failed/{cell}/{number}" for number in range(world())]):
                store.delete_key(f"harness/fault/{rank()}")
                return False
            time.sleep(0.05)
    return True


def _first_line(error: object) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
