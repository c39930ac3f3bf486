"""Interleaved measurement of all methods of a command: latencies, and the roofline of the machine."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from harness.compute import cudnn_benchmark
from harness.errors import described
from harness.export.runtime import RuntimeModel
from harness.measurement.outcome import Outcome
from harness.method import MultiTaskModel
from harness.probes.candidate import Candidate, Inputs, Setting
from harness.probes.catalog import INTERLEAVED
from harness.probes.end_to_end import measure_end_to_end
from harness.probes.latency import measure_latency, to_latency
from harness.probes.memory import held_bytes
from harness.probes.pairing import paired_ratio
from harness.probes.prepare import prepare_call, prepare_forward, release_compiled
from harness.probes.roofline import lower_bound, measure_roofline
from harness.probes.timing import Subject, Timing
from harness.progress import RunProgress
from harness.records.costs import EndToEnd, Floor, Latency, PairedRatio

_roofline = functools.cache(measure_roofline)
"""The roofline is the machine's, and so the same for all candidates of a process."""


@dataclass(frozen=True)
class _Ready:
    """A candidate that can be timed at a batch size.

    Attributes:
        candidate: The candidate.
        model: Its model.
        call: One forward pass.
        transfer_bytes: Bytes of weights, images and predictions.
        runtime_bytes: Bytes of the file that another runtime reads; None for PyTorch.
    """

    candidate: Candidate
    model: MultiTaskModel
    call: Callable[[], object]
    transfer_bytes: int
    runtime_bytes: int | None = None


def measure_together(
    candidates: Sequence[Candidate], inputs: Inputs, setting: Setting, outcome: Outcome, progress: RunProgress
) -> None:
    """Measure the wanted latencies that are missing, with interleaved calls, and the roofline of the machine.

    Args:
        candidates: Whose records are filled and written; each predicts.
        inputs: The images.
        setting: How costs are measured.
        outcome: Takes warnings and failures.
        progress: Where progress is shown.
    """
    # 1. The roofline, measured once for the machine and stored in every record.
    wanted = {probe: [one for one in candidates if probe in one.lacking()] for probe in INTERLEAVED}
    for candidate in wanted["ceilings"]:
        with outcome.guard(candidate, "ceilings"):
            candidate.record.ceilings = _roofline(setting.compute)
        candidate.write()
    # 2. The latencies, one session per batch size. All models stay loaded, as their calls are interleaved.
    models = [(candidate, candidate.load(setting.compute)) for candidate in wanted["latency"]]
    for batch_size in setting.batch_sizes if models else ():
        # The shapes are fixed, so that the search for the fastest kernels is paid once, in the warm-up.
        with cudnn_benchmark(setting.compute.device):
            ready = _prepare(models, inputs.batch(batch_size), setting, outcome)
            timed = _time(ready, batch_size, setting, outcome, progress)
        _fill(timed, batch_size, inputs, setting, outcome)
    if models and setting.execution.compile is not None:
        release_compiled()  # its memory pools would be in the peaks of what is measured next


def _prepare(
    models: Sequence[tuple[Candidate, MultiTaskModel]],
    images: torch.Tensor,
    setting: Setting,
    outcome: Outcome,
) -> list[_Ready]:
    """Return the calls to time; what cannot run at this batch size is left out."""
    if setting.execution.compile is not None:
        release_compiled()  # else it would compile for sizes that vary once it meets the second one
    ready = []
    for candidate, model in models:
        with outcome.guard(candidate, "latency", f"batch size {len(images)}"):
            call = prepare_call(model, images, setting.compute, setting.execution)
            predictions = call()
            # The least that must move: every weight, input and output once.
            transfer_bytes = sum(held_bytes(model)) + images.nbytes + sum(raw.nbytes for raw in predictions.values())
            served = getattr(call, "model", None)
            size = served.size if isinstance(served, RuntimeModel) else None
            ready.append(_Ready(candidate, served or model, call, transfer_bytes, size))
    return ready


def _time(
    ready: Sequence[_Ready], batch_size: int, setting: Setting, outcome: Outcome, progress: RunProgress
) -> list[tuple[_Ready, Timing]]:
    """Return the candidates with their timings; none where timing failed."""
    subjects = [Subject(one.candidate.record.run_id, one.call) for one in ready]
    if not subjects:
        return []
    try:
        with progress.bar(f"time {len(subjects)} methods at batch size {batch_size}", 100, unit="%") as report:
            timings = measure_latency(subjects, setting.compute.device, setting.rules, report)
            return list(zip(ready, timings, strict=True))
    except (Exception, SystemExit) as error:  # as in `Outcome.guard`, but for all at once
        for one in ready:
            outcome.unmeasured(one.candidate, "latency", f"batch size {batch_size}: {described(error)}")
        return []


def _fill(
    timed: Sequence[tuple[_Ready, Timing]],
    batch_size: int,
    inputs: Inputs,
    setting: Setting,
    outcome: Outcome,
) -> None:
    """Write what was timed into the records."""
    for one, timing in timed:
        candidate = one.candidate
        latency = to_latency(timing, batch_size, setting.compute.precision, setting.execution)
        latency.runtime_bytes = one.runtime_bytes
        latency.paired = _paired(candidate, timing, [(other.candidate, theirs) for other, theirs in timed])
        latency.floor = _latency_bound(one, latency)
        latency.end_to_end = EndToEnd(images_per_second=None, reason=inputs.absence)
        if inputs.batches is not None:
            with outcome.guard(candidate, "latency", "end to end"):
                forward = prepare_forward(one.model, setting.compute)
                latency.end_to_end = measure_end_to_end(inputs.batches(batch_size), forward, setting.compute.device)
        candidate.record.latency.append(latency)
        candidate.write()


def _latency_bound(one: _Ready, latency: Latency) -> Floor | None:
    """Return the lower bound on the latency, or None where the MACs or the roofline are not known."""
    macs, roofline = one.candidate.record.macs, one.candidate.record.ceilings
    if macs is None or roofline is None:
        return None
    # Every image of the batch takes the mean MACs; the weights move once for the whole batch.
    return lower_bound(latency.p50_ms, latency.batch_size * macs.executed.mean, one.transfer_bytes, roofline)


def _paired(candidate: Candidate, timing: Timing, timed: Sequence[tuple[Candidate, Timing]]) -> PairedRatio | None:
    """Return the ratio to the reference method with the same encoder, or else to the first one with it."""
    backbone = candidate.record.method.backbone
    comparable = [(other, theirs) for other, theirs in timed if other.record.method.backbone == backbone]
    if len(comparable) < 2:
        return None
    references = [pair for pair in comparable if pair[0].record.method.is_reference]
    reference, theirs = (references or comparable)[0]
    return paired_ratio(timing, theirs, reference.record.run_id)
