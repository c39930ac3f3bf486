"""Memory of a model: parameters and buffers, and the peak of inference and of training."""

import copy
import gc
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

import psutil
import torch
from torch import Tensor, nn

from harness.compute import Compute
from harness.method import Method, MultiTaskModel
from harness.probes.candidate import Candidate, Inputs, Setting
from harness.probes.prepare import prepare_call, release_compiled
from harness.records.costs import Memory, Parameters, Peak, Resident

_RESIDENT_PASSES = 3
"""Passes under the sampler: the first one grows the allocator's arenas, the others show the level it stays at."""

_SAMPLE_SECONDS = 0.005
"""Seconds between two looks at the resident set: the small models' passes take some 10 ms."""


def fill_memory(candidate: Candidate, model: MultiTaskModel, inputs: Inputs, setting: Setting) -> tuple[()]:
    """Measure at the first batch size; what is missing has its reason in the value."""
    images = inputs.batch(setting.batch_sizes[0])
    candidate.record.memory = measure_memory(model, images, setting.compute)
    return ()


def measure_memory(model: MultiTaskModel, images: Tensor, compute: Compute) -> Memory:
    """Measure what a model holds and what it takes at its peak.

    The peaks of a GPU are all that this process has there, so that nothing else should lie there; for the training
    step the model makes room for a copy. The peak of a CPU is the resident set of the whole process, so that what it
    adds to ``before_bytes`` is of the model; memory that an earlier pass has left with the allocator is in both.

    Args:
        model: What predicts; it is moved to the device and put into evaluation mode.
        images: Normalised RGB, [B, 3, H, W].
        compute: Device and arithmetic of the passes.
    """
    device = compute.device
    forward = prepare_call(model, images, compute)
    # The resident set is sampled on every machine: it costs nothing, and the passes allocate what is counted next.
    with _ResidentSampler() as sampler:
        for _ in range(_RESIDENT_PASSES):
            forward()
    parameter_bytes, buffer_bytes = held_bytes(model)
    memory = Memory(parameter_bytes=parameter_bytes, buffer_bytes=buffer_bytes, batch_size=len(images))
    if device.type != "cuda":
        memory.resident = sampler.resident()
        memory.reasons = dict.fromkeys(("inference", "training_step"), "the peak of a GPU is that of its allocator")
        return memory
    memory.reasons["resident"] = "the resident set is measured where a CPU computes"
    memory.inference = _peak(forward, device)
    del forward  # it holds the images
    try:
        memory.training_step = _training_peak(model, images, compute)
    except Exception as error:  # not every model can be trained as it comes out of its artifact, or has the room
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        memory.reasons["training_step"] = f"a training step of all tasks failed: {reason}"
    return memory


def count_parameters(model: MultiTaskModel, method: Method) -> Parameters:
    """Count parameters of the model, of each part, and those that the full recipe trains; one used twice counts once.

    Args:
        model: The model.
        method: Its method, whose recipe says what stays frozen.
    """
    trainable, reason = None, None
    try:
        stages = method.stages(model.problem, "full")
        prefixes = tuple(prefix for stage in stages for prefix in stage.trainable)
        trainable = sum(value.numel() for name, value in model.named_parameters() if name.startswith(prefixes))
    except Exception as error:  # whatever a method raises: not all models can be trained
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return Parameters(
        trainable=trainable,
        reason=reason,
        total=sum(parameter.numel() for parameter in model.parameters()),
        per_part={
            name: sum(parameter.numel() for parameter in part.parameters()) for name, part in model.parts().items()
        },
    )


def held_bytes(model: nn.Module) -> tuple[int, int]:
    """Return the bytes of a model's parameters and of its buffers.

    What several of them share counts once, and for the parameters. Weights that are merged at the first forward pass
    count once that has run.
    """
    parameters, buffers = _storages(model.parameters()), _storages(model.buffers())
    only_buffers = {address: size for address, size in buffers.items() if address not in parameters}
    return sum(parameters.values()), sum(only_buffers.values())


def _storages(tensors: Iterable[Tensor]) -> dict[int, int]:
    """Return the bytes of the storages by address."""
    storages = [tensor.untyped_storage() for tensor in tensors]
    return {storage.data_ptr(): storage.nbytes() for storage in storages}


def _peak(work: Callable[[], object], device: torch.device) -> Peak:
    """Return the most bytes of a GPU that this process has taken while it works."""
    gc.collect()  # what earlier models have left
    release_compiled()  # the CUDA graphs of --compile reduce-overhead keep separate pools
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    work()
    torch.cuda.synchronize(device)
    return Peak(
        allocated_bytes=torch.cuda.max_memory_allocated(device),
        reserved_bytes=torch.cuda.max_memory_reserved(device),
    )


def _training_peak(model: MultiTaskModel, images: Tensor, compute: Compute) -> Peak:
    """Return the peak of a later training step of a copy, while the model itself makes room on the CPU."""
    model.cpu()
    try:
        trained = copy.deepcopy(model).to(compute.device)
        if compute.training() != compute:
            trained.float()  # an optimiser's weights are in float32
        step = training_step(trained, images.to(compute.device), compute.training())
        step()  # AdamW's two moments per weight come into being at the end of the first step
        return _peak(step, compute.device)
    finally:
        model.to(compute.device)


def training_step(model: MultiTaskModel, images: Tensor, compute: Compute) -> Callable[[], None]:
    """Return one step of training: forward, backward from the sum of the outputs' means, and an AdamW step.

    Args:
        model: What is trained, in place.
        images: Normalised RGB, [B, 3, H, W] on the model's device.
        compute: Device and arithmetic of the forward pass.

    Raises:
        ValueError: no parameter of the model is trained.
    """
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise ValueError("no parameter of the model is trained")
    optimizer = torch.optim.AdamW(trained)

    def step() -> None:
        with compute.autocast():
            output = model.forward_train(images)
        maps = [raw for predictions in (output.predictions, *output.intermediate) for raw in predictions.values()]
        optimizer.zero_grad(set_to_none=True)
        torch.stack([raw.float().mean() for raw in maps]).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


class _ResidentSampler:
    """Samples the resident set of this process in a separate thread, from entering to leaving it."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="resident-set", daemon=True)
        self._before = self._peak = 0

    def __enter__(self) -> Self:
        gc.collect()
        self._before = self._peak = self._read()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._peak = max(self._peak, self._read())

    def resident(self) -> Resident:
        """Return what was sampled."""
        return Resident(before_bytes=self._before, peak_bytes=self._peak)

    def _sample(self) -> None:
        while not self._stop.wait(_SAMPLE_SECONDS):
            self._peak = max(self._peak, self._read())

    def _read(self) -> int:
        return int(self._process.memory_info().rss)
