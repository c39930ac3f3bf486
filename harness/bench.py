"""From a configuration to the costs of methods, on random weights and random images: no data is needed."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor

from harness.artifact import Manifest, read_manifest
from harness.config import BenchConfig, digest
from harness.configured import check_artifact, configure
from harness.data.dataset import Dataset
from harness.data.transforms import MEAN, STD
from harness.errors import UsageError
from harness.job import digest_artifact, method_info
from harness.measurement import Candidate, Findings, Inputs, Setting, measure
from harness.method import Method
from harness.opened import posed_tasks
from harness.precision import Precision, pick_device, set_precision
from harness.probes.catalog import select
from harness.probes.environment import environment, software, system_id
from harness.probes.rules import LatencyRules
from harness.problem import Problem
from harness.progress import RunProgress
from harness.published import artifact_or_published, load_published
from harness.records import DatasetInfo, Record
from harness.registry import load_dataset, load_plugin
from harness.run import Outcome
from harness.training.loop import seed_everything
from harness.weights import WeightFile

SEED = 0
"""Weights and images are drawn from it, so that every command measures the same."""

_IMAGES = 4
_NOISE = "what this method computes depends on the image, and it was measured on random ones"


@dataclass(frozen=True)
class _Cell:
    """A method whose costs are wanted on the tasks of a data set."""

    method: Method
    dataset: Dataset
    problem: Problem


@dataclass(frozen=True)
class _Context:
    """What all cells of a command share."""

    config: BenchConfig
    command: list[str]
    device: torch.device
    probes: tuple[str, ...]
    artifact: Path | None
    published: WeightFile | None


def bench(config: BenchConfig, command: list[str]) -> Outcome:
    """Measure every method on the tasks of every data set with every backbone at every precision.

    Methods on one data set are timed in turn, whatever their backbones. What was measured before is measured anew.

    Args:
        config: The matrix.
        command: Command line to store with the records.

    Returns:
        One record per method, data set, backbone and precision, with one latency per batch size.

    Raises:
        UsageError: a wrong name or option; nothing was measured.
    """
    for plugin in config.plugin:
        load_plugin(plugin)
    device, probes = pick_device(config.device), select(config.probe)
    context = _Context(config, command, device, probes, *artifact_or_published(config.checkpoint))
    for precision in config.precision:
        set_precision(context.device, precision)  # those the device cannot do are refused before anything is measured
    if config.cuda_graph and context.device.type != "cuda":
        raise UsageError("--cuda-graph needs a GPU")
    cells = list(_cells(context))
    findings, outcome = Findings(), Outcome(config.output)
    for name in config.dataset:
        group = [cell for cell in cells if cell.dataset.name == name]
        with tempfile.TemporaryDirectory(prefix="harness-bench-") as scratch:
            outcome.records += _measure(group, context, Path(scratch), findings)
    outcome.warnings, outcome.failures = findings.warnings, findings.failures
    return outcome


def _cells(context: _Context) -> Iterator[_Cell]:
    config = context.config
    manifest = read_manifest(context.artifact) if context.artifact else None
    stored = manifest.options if manifest else None
    for name in config.dataset:
        dataset = load_dataset(name)
        problem = _problem(dataset, config, manifest)
        for backbone in config.backbone or [manifest.backbone if manifest else ""]:
            for method in configure(config.method, backbone or None, config.set, stored=stored):
                if manifest is not None:
                    check_artifact(manifest, method, problem, name, f"--checkpoint {config.checkpoint}")
                for options in method.variants(_given(config, method.name)):
                    yield _Cell(type(method)(options, method.backbone, method.weights), dataset, problem)


def _given(config: BenchConfig, method: str) -> set[str]:
    """Return the options that were set for a method."""
    return {key.rpartition(".")[2] for key in config.set if key.rpartition(".")[0] in ("", method)}


def _problem(dataset: Dataset, config: BenchConfig, manifest: Manifest | None) -> Problem:
    if manifest is not None:
        held = manifest.problem()
        return Problem(posed_tasks(dataset, held.names), held.input_size)
    size = config.input_size or dataset.nominal_input_size
    if size is None:
        raise UsageError(f"{dataset.name} has no nominal input size; give --input-size")
    return Problem(posed_tasks(dataset, config.task), size)


def _measure(cells: Sequence[_Cell], context: _Context, scratch: Path, findings: Findings) -> list[Record]:
    """Measure the cells of one data set at every precision; return the complete records."""
    images = _noise(cells[0].problem.input_size)
    inputs = Inputs(lambda: images, absence="harness bench needs no data, and has none")
    progress = RunProgress(context.config.quiet)
    first: dict[str, Record] = {}
    done = []
    for precision in context.config.precision:
        progress.title = f"{cells[0].dataset.name} in {precision}:"
        set_precision(context.device, precision)
        candidates = list(_candidates(cells, precision, context, scratch, findings))
        for candidate in candidates:
            _take_over(first.setdefault(str(candidate.artifact), candidate.record), candidate.record)
        measure(candidates, inputs, _setting(precision, context), findings, progress)
        for candidate in candidates:
            if candidate.record.status != "failed":
                candidate.record.status = "complete"
                candidate.write()
                done.append(candidate.record)
    return done


def _candidates(
    cells: Sequence[_Cell], precision: Precision, context: _Context, scratch: Path, findings: Findings
) -> Iterator[Candidate]:
    """Yield the cells with their artifacts, which are made where they are not there yet."""
    for index, cell in enumerate(cells):
        record = _record(cell, precision, context)
        artifact = context.artifact or scratch / str(index)
        folder = context.config.output / record.run_id
        candidate = Candidate(cell.method, artifact, cell.problem.names, record, folder, context.probes)
        try:
            record.warnings += _ship(cell, artifact, context.published)
        except UsageError:  # of the checkpoint that was given
            raise
        except Exception as error:  # whatever a method raises is its failure, and leaves the others alone
            findings.fail(candidate, error)
            candidate.write()
        else:
            yield candidate


def _ship(cell: _Cell, artifact: Path, published: WeightFile | None) -> tuple[str, ...]:
    """Save the model of a cell as a run does, so that what is measured is what is shipped; return notes on it."""
    if artifact.is_dir():
        return ()
    seed_everything(SEED)
    notes: tuple[str, ...] = ()
    if published is None:
        model = cell.method.stand_in(cell.problem)
    else:
        model, notes = load_published(cell.method, cell.problem, published)
    unfinished = artifact.with_name(f"{artifact.name}.unfinished")
    unfinished.mkdir(exist_ok=True)
    cell.method.save(model, unfinished)
    unfinished.replace(artifact)
    return notes


def _take_over(source: Record, target: Record) -> None:
    """Take the costs from an earlier record that are the same at any precision."""
    target.parameters, target.macs, target.storage = source.parameters, source.macs, source.storage
    target.warnings = list(source.warnings)


def _setting(precision: Precision, context: _Context) -> Setting:
    config = context.config
    given = {name: getattr(config, name) for name in ("min_iterations", "min_seconds", "max_seconds")}
    rules = replace(
        LatencyRules.for_device(context.device), **{name: value for name, value in given.items() if value is not None}
    )
    if config.max_seconds is None:
        rules = replace(rules, max_seconds=max(rules.max_seconds, rules.min_seconds))
    return Setting(
        device=context.device,
        precision=precision,
        rules=rules,
        batch_sizes=tuple(config.batch_size),
        compiled=config.compile,
        cuda_graph=config.cuda_graph,
        channels_last=config.channels_last,
    )


def _record(cell: _Cell, precision: Precision, context: _Context) -> Record:
    config, method, now = context.config, cell.method, datetime.now(UTC)
    system = environment()  # with the switches that the precision has set
    loaded = _loaded(context)
    identity = {
        "method": method.name,
        "options": method.options.model_dump(mode="json"),
        "backbone": method.backbone,
        "artifact": loaded,
        "dataset": cell.dataset.name,
        "tasks": cell.problem.names,
        "input_size": cell.problem.input_size,
        "precision": precision,
        "device": context.device.type,
        "system": system_id(system),
        **config.model_dump(include={"batch_size", "compile", "cuda_graph", "channels_last"}),
    }
    name = f"{method.name}.{method.backbone}.bench.{precision}.{digest(identity)[:8]}"
    return Record(
        run_id=f"{cell.dataset.name}/{name}",
        source="measured",
        status="partial",
        created_at=now,
        updated_at=now,
        harness=software(),
        command=context.command,
        config=config.model_dump(mode="json"),
        config_hash=digest(identity),
        method=method_info(method, "checkpoint" if loaded else "random", loaded),
        dataset=_no_data(cell.dataset),
        protocol_name="none",
        protocol={},
        budget=None,
        input_size=cell.problem.input_size,
        precision=precision,
        device=context.device.type,
        seed=SEED,
        system_id=system_id(system),
        environment=system,
        warnings=[_NOISE] if method.data_dependent else [],
    )


def _loaded(context: _Context) -> str | None:
    """Return name and sha256 of the checkpoint that is measured."""
    if context.artifact is not None:
        return f"{context.artifact.name} sha256:{digest_artifact(context.artifact)}"
    file = context.published
    return f"{file.path.name} sha256:{file.sha256}" if file is not None else None


def _no_data(dataset: Dataset) -> DatasetInfo:
    return DatasetInfo(
        name=dataset.name,
        synthetic=dataset.synthetic,
        build=None,
        split=None,
        fingerprint=None,
        n_expected=0,
        n_evaluated=0,
        train_fingerprint=None,
        n_train=None,
    )


def _noise(size: tuple[int, int]) -> list[Tensor]:
    """Return random images, normalised, each [1, 3, H, W]."""
    generator = torch.Generator().manual_seed(SEED)
    mean, std = (torch.from_numpy(values)[:, None, None] for values in (MEAN, STD))
    return [(torch.rand(1, 3, *size, generator=generator) - mean) / std for _ in range(_IMAGES)]
