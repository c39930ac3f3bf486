"""Batches in a fixed order: each one follows from its number alone, whatever the number of workers."""

import contextlib
import signal
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from harness.data.augment import TrainTransform
from harness.data.cache import Scenes
from harness.data.parallel import room_for_queues
from harness.data.sample import Batch
from harness.data.transforms import EvalTransform, Item
from harness.errors import HarnessError, MethodError, described

_LINGER = 30
"""Seconds after SIGTERM at which a loader process ends, had it not been ended by then."""

_ORDER, _AUGMENTATION = 0, 1
"""Keep the random streams of orders and of augmentations apart."""


WHOLE = (0, 1)
"""Part of the work of one process: all of it. Otherwise its rank, and the number of processes."""


def eval_batches(
    scenes: Scenes, transform: EvalTransform, batch_size: int, workers: int = 0, part: tuple[int, int] = WHOLE
) -> Iterator[Batch]:
    """Iterate over all scenes once, in order.

    Where labels keep their size, a batch contains consecutive scenes of one size only. The last batch of a run is
    as small as it falls out; nothing is repeated to fill it.

    Args:
        scenes: The split.
        transform: Prepares each scene.
        batch_size: Largest batch.
        workers: Processes that load ahead; 0 loads in this one.
        part: (rank, world): every world-th batch from number rank on, whole, so that its forward pass is the same
            whatever the number of processes.

    Raises:
        DataError: a scene cannot be read or does not fit the input.
        MethodError: a loader process died, or the shared memory is too small for them.
    """
    groups = _groups(scenes.sizes if transform.keeps_label_size else [None] * len(scenes), batch_size)
    return _load(_EvalBatches(scenes, transform, groups), range(part[0], len(groups), part[1]), workers)


def train_batches(
    scenes: Scenes,
    transform: TrainTransform,
    batch_size: int,
    seed: int,
    start: int,
    stop: int,
    workers: int = 0,
    rows: range | None = None,
    skip: int = 0,
) -> Iterator[Batch]:
    """Iterate over the batches of iterations ``start`` to ``stop - 1``.

    Scenes come in a new random order in each epoch, and batches run on across epochs. A batch follows from
    (seed, iteration), so a resumed run sees what it would have seen.

    Args:
        scenes: The split.
        transform: Prepares each scene; its draws follow from (seed, epoch, position).
        batch_size: Scenes of every batch.
        seed: Not negative.
        start: First iteration.
        stop: One past the last iteration.
        workers: Processes that load ahead; 0 loads in this one.
        rows: Images of every batch to load, where other processes load the others; None for all.
        skip: First scenes of the split that are left out.

    Raises:
        DataError: a scene cannot be read.
        MethodError: a loader process died, or the shared memory is too small for them.
    """
    return _load(_TrainBatches(scenes, transform, batch_size, seed, rows, skip), range(start, stop), workers)


class _Batches(Protocol):
    def __getitem__(self, index: int) -> Batch: ...


class _EvalBatches:
    def __init__(self, scenes: Scenes, transform: EvalTransform, groups: list[range]) -> None:
        self.scenes, self.transform, self.groups = scenes, transform, groups

    def __getitem__(self, index: int) -> Batch:
        return collate([self.transform(self.scenes[scene]) for scene in self.groups[index]])


class _TrainBatches:
    def __init__(
        self, scenes: Scenes, transform: TrainTransform, batch_size: int, seed: int, rows: range | None, skip: int
    ) -> None:
        self.scenes, self.transform = scenes, transform
        self.batch_size, self.seed, self.skip = batch_size, seed, skip
        self.rows = range(batch_size) if rows is None else rows

    def __getitem__(self, index: int) -> Batch:
        items = []
        count = len(self.scenes) - self.skip
        # Everything follows from the number of the draw: epoch, position in its order, and the scene there.
        for drawn in range(index * self.batch_size + self.rows.start, index * self.batch_size + self.rows.stop):
            epoch, position = divmod(drawn, count)
            scene = self.skip + _order(self.seed, epoch, count)[position]
            rng = np.random.default_rng((_AUGMENTATION, self.seed, epoch, position))
            items.append(self.transform(self.scenes[int(scene)], rng))
        return collate(items)


@lru_cache(maxsize=2)  # a batch may span two epochs
def _order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng((_ORDER, seed, epoch)).permutation(count)


def _groups(sizes: Sequence[object], batch_size: int) -> list[range]:
    """Cut the scenes into runs of at most ``batch_size`` consecutive ones of equal size."""
    # Consecutive only, so that results come in the order of the list.
    groups: list[range] = []
    for index, size in enumerate(sizes):
        last = groups[-1] if groups else range(0)
        if last and len(last) < batch_size and sizes[last.start] == size:
            groups[-1] = range(last.start, index + 1)
        else:
            groups.append(range(index, index + 1))
    return groups


def collate(items: Sequence[Item]) -> Batch:
    """Stack prepared scenes of one size into a batch."""
    return Batch(
        ids=[item.id for item in items],
        images=torch.from_numpy(np.stack([item.image for item in items])),
        labels={task: torch.from_numpy(np.stack([item.labels[task] for item in items])) for task in items[0].labels},
        sizes=[item.size for item in items],
        offsets=[item.offset for item in items],
    )


def _load(batches: _Batches, indices: range, workers: int) -> Iterator[Batch]:
    if workers == 0:
        yield from map(batches.__getitem__, indices)
        return
    if not room_for_queues(workers):  # torch's iterator cannot be taken down while it is half built
        raise MethodError(_SHARED_MEMORY_FULL.format("no room for semaphores"))
    loader = DataLoader(
        _Guarded(batches),
        batch_size=None,
        sampler=indices,
        num_workers=workers,
        collate_fn=_unchanged,
        worker_init_fn=_start,
        # A model is on a GPU already where one is used.
        pin_memory=torch.cuda.is_initialized(),  # type: ignore[no-untyped-call]
        generator=torch.Generator(),  # its own, so that the number of workers leaves the global one alone
    )
    iterator = iter(loader)  # starts the processes
    try:
        for loaded in iterator:
            if isinstance(loaded, HarnessError):
                raise loaded
            yield loaded
    except (RuntimeError, OSError, EOFError) as error:
        raise loader_fault(error) or error from error
    finally:
        # torch would end the processes in a destructor, where the report of a late death is printed as a traceback.
        with contextlib.suppress(RuntimeError):
            iterator._shutdown_workers()  # type: ignore[attr-defined]


_SHARED_MEMORY_FULL = (
    "the shared memory is full, which loader processes hand images over in ({}): use --workers 0, or give the "
    "container more /dev/shm with --shm-size"
)


def loader_fault(error: BaseException) -> MethodError | None:
    """Return the error for users if torch says that a loader process died; None for any other exception.

    torch raises it wherever the main process is at that moment, not only while a batch is awaited.
    """
    text = (str(error).splitlines() or [type(error).__name__])[0]
    # A process may also die between sending a batch and handing over its memory, which closes the connection.
    cut_off = isinstance(error, ConnectionError | EOFError) and not text.startswith("Caught")
    if not (cut_off or text.startswith(("DataLoader worker", "received 0 items of ancdata"))):
        return None
    return MethodError(
        f"a process that loads images died ({text.rstrip('. ')}); the memory is too small, or the shared memory of the "
        f"container is: use --workers 0, fewer workers, or a larger --shm-size"
    )


def _start(_: int) -> None:
    """Give a loader process its own signals; a forked one would answer them as the main process does.

    Clusters send signals to all processes of a job. The main process saves its state first and needs this one for it.
    """
    for name in ("SIGHUP", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_LINGER))


class _Guarded(Dataset[Any]):
    """Returns errors for the user instead of raising them: the loader would bury them in a traceback's text."""

    def __init__(self, batches: _Batches) -> None:
        self.batches = batches

    def __getitem__(self, index: int) -> Batch | HarnessError:
        try:
            batch = self.batches[index]
        except HarnessError as error:
            return error
        except Exception as error:  # of a data set's own code
            return MethodError(described(error))
        try:
            # The loader would do it in a thread, whose failure leaves the main process waiting for ever.
            for tensor in (batch.images, *batch.labels.values()):
                tensor.share_memory_()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            return MethodError(_SHARED_MEMORY_FULL.format(str(error).splitlines()[0][:160]))
        return batch


def _unchanged(loaded: Any) -> Any:
    return loaded
