"""Measurement of the cells of a matrix, interleaved for those on one data set."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from harness.bench.cells import SEED, Cell, Context, cells_of, new_record
from harness.compute import Compute, Precision, pick_device, seed_everything
from harness.config import BenchConfig
from harness.data.transforms import MEAN, STD
from harness.errors import UsageError
from harness.export.runtime import check_runtime, execution_of
from harness.export.settings import ITSELF
from harness.files import check_writable, new_folder, writing_to
from harness.measurement import Candidate, Inputs, Outcome, Setting, measure
from harness.method import accounting_of, load_published, save_artifact
from harness.probes.catalog import select
from harness.probes.rules import LatencyRules
from harness.progress import RunProgress
from harness.records import Record
from harness.registry import load_plugin
from harness.run.job import Artifact
from harness.run.matrix import start_of
from harness.weights import WeightFile

_IMAGES = 4
"""Random images: more than one, for methods whose cost depends on the image."""


def bench(config: BenchConfig) -> Outcome:
    """Measure every method on the tasks of every data set with every backbone at every precision.

    Timings of the methods on one data set are interleaved, whatever their backbones. Earlier measurements are replaced.

    Args:
        config: The matrix.

    Returns:
        One record per method, data set, backbone and precision, with one latency per batch size.

    Raises:
        UsageError: a wrong name or option; nothing was measured.
    """
    for plugin in config.plugin:
        load_plugin(plugin)
    device, probes = pick_device(config.device), select(config.probe)
    start = start_of(config.checkpoint)
    artifact, published = (start, None) if isinstance(start, Artifact) else (None, start)
    context = Context(config, device, probes, artifact, published)
    for precision in config.precision:  # what the device cannot do is refused before anything is measured
        Compute(context.device, precision).set_switches()
    if config.runtime not in ITSELF:
        check_runtime(config.runtime, device)
    if config.cuda_graph and context.device.type != "cuda":
        raise UsageError("--cuda-graph needs a GPU")
    cells = list(cells_of(context))
    check_writable("-o", config.output)
    outcome = Outcome(config.output)
    for name in config.dataset:
        group = [cell for cell in cells if cell.dataset.name == name]
        with writing_to(f"-o {config.output}"), tempfile.TemporaryDirectory(prefix="harness-bench-") as scratch:
            outcome.records += _measure(group, context, Path(scratch), outcome)
    return outcome


def _measure(cells: Sequence[Cell], context: Context, scratch: Path, outcome: Outcome) -> list[Record]:
    """Measure the cells of one data set at every precision; return the complete records."""
    # Random images, normalised, each [1, 3, H, W].
    generator = torch.Generator().manual_seed(SEED)
    mean, std = (torch.from_numpy(values)[:, None, None] for values in (MEAN, STD))
    size = cells[0].problem.input_size
    images = [(torch.rand(1, 3, *size, generator=generator) - mean) / std for _ in range(_IMAGES)]
    inputs = Inputs(lambda: images, absence="harness bench needs no data, and has none")
    progress = RunProgress(context.config.quiet)
    first: dict[str, Record] = {}
    done = []
    for precision in context.config.precision:
        progress.title = f"{cells[0].dataset.name} in {precision}:"
        Compute(context.device, precision).set_switches()
        candidates = list(_candidates(cells, precision, context, scratch, outcome))
        for candidate in candidates:
            # Costs that are the same at any precision are measured once. MACs that depend on the image are not among
            # them: the gates compare values of the precision.
            source, target = first.setdefault(str(candidate.artifact), candidate.record), candidate.record
            target.parameters, target.storage = source.parameters, source.storage
            if not accounting_of(candidate.method).data_dependent:
                target.macs = source.macs
            target.warnings = list(source.warnings)
        measure(candidates, inputs, _setting(precision, context), outcome, progress)
        for candidate in candidates:
            if candidate.record.status != "failed":
                candidate.record.status = "complete"
                candidate.write()
                done.append(candidate.record)
    return done


def _candidates(
    cells: Sequence[Cell], precision: Precision, context: Context, scratch: Path, outcome: Outcome
) -> Iterator[Candidate]:
    """Yield the cells with their artifacts, which are made where they are not there yet."""
    for index, cell in enumerate(cells):
        record = new_record(cell, precision, context)
        artifact = context.artifact.path if context.artifact else scratch / str(index)
        folder = context.config.output / record.run_id
        candidate = Candidate(cell.method, artifact, cell.problem.names, record, folder, context.probes)
        try:
            record.warnings += _export(cell, artifact, context.published)
        except UsageError:  # of the checkpoint that was given
            raise
        except (Exception, SystemExit) as error:  # whatever a method raises is its failure, and leaves the others alone
            outcome.fail(candidate, error)
            candidate.write()
        else:
            yield candidate


def _export(cell: Cell, artifact: Path, published: WeightFile | None) -> tuple[str, ...]:
    """Save the model of a cell as a run does, so that what is exported is measured; return notes on it."""
    if artifact.is_dir():
        return ()
    seed_everything(SEED)
    notes: tuple[str, ...] = ()
    if published is None:
        model = accounting_of(cell.method).untrained(cell.problem)
    else:
        model, notes = load_published(cell.method, cell.problem, published)
    with new_folder(artifact, durable=False) as unfinished:
        save_artifact(cell.method, model, unfinished)
    return notes


def _setting(precision: Precision, context: Context) -> Setting:
    config = context.config
    given = {name: getattr(config, name) for name in ("min_iterations", "min_seconds", "max_seconds")}
    rules = replace(
        LatencyRules.for_device(context.device), **{name: value for name, value in given.items() if value is not None}
    )
    if config.max_seconds is None:
        rules = replace(rules, max_seconds=max(rules.max_seconds, rules.min_seconds))
    return Setting(
        Compute(context.device, precision),
        rules,
        batch_sizes=tuple(config.batch_size),
        execution=execution_of(config),
    )
