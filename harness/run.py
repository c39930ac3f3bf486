"""From a configuration to records: the matrix of methods, data sets and seeds."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.artifact import Manifest, read_manifest
from harness.backbones import NAMES as BACKBONES
from harness.config import RunConfig
from harness.errors import HarnessError, UsageError, unknown
from harness.gain import fill_gains
from harness.job import Job, execute
from harness.method import Method
from harness.opened import OpenedData, open_data
from harness.precision import pick_device, set_precision
from harness.progress import RunProgress
from harness.protocol import Protocol
from harness.records import Record, first_fault
from harness.registry import load_dataset, load_method, load_plugin


@dataclass
class Outcome:
    """What became of a matrix.

    Attributes:
        records: Complete records, in the order of the matrix.
        failures: (title of the run, error) of those that failed.
        output: Results folder.
    """

    output: Path
    records: list[Record] = field(default_factory=list)
    failures: list[tuple[str, HarnessError]] = field(default_factory=list)


def run(config: RunConfig, command: list[str]) -> Outcome:
    """Run every cell of the matrix; cells that are complete already are read, not repeated.

    A cell that fails does not stop the others.

    Args:
        config: The matrix.
        command: Command line to store with the records.

    Raises:
        UsageError: a wrong name, option or file; nothing was run.
        DataError: a data set is missing or unusable; nothing was run.
    """
    progress = RunProgress(quiet=config.quiet)
    outcome = Outcome(config.output)
    for job in _saving(config.save_predictions, list(_jobs(config, command))):
        try:
            outcome.records.append(execute(job, progress))
        except HarnessError as error:
            outcome.failures.append((job.title, error))
    fill_gains(outcome.records, config.output)
    return outcome


def _saving(folder: Path | None, jobs: list[Job]) -> list[Job]:
    """Give every job a place for its predictions: ``folder``, or one below it where there are several jobs."""
    if folder is None:
        return jobs
    try:
        folder.mkdir(parents=True, exist_ok=True)  # before hours of training, not after
    except OSError as error:
        raise UsageError(f"--save-predictions {folder}: {error.strerror}") from error
    if len(jobs) == 1:
        return [replace(jobs[0], predictions=folder)]
    return [replace(job, predictions=folder / job.run_id) for job in jobs]


def _jobs(config: RunConfig, command: list[str]) -> Iterator[Job]:
    for plugin in config.plugin:
        load_plugin(plugin)
    device = pick_device(config.device)
    set_precision(device, config.precision)
    protocol = Protocol.profile(config.protocol, config.protocol_set)
    given = config.checkpoint or config.extend
    manifest = None if given is None else read_manifest(given)
    methods = _methods(config, manifest)
    for name in config.dataset:
        dataset = load_dataset(name)
        training = config.checkpoint is None
        data = open_data(dataset, config.data_root, config.task, protocol, config.limit, training, config.input_size)
        if manifest is not None:
            _check_artifact(manifest, methods[0], data, config)
        for method in methods:
            for seed in config.seed:
                yield Job(method, data, seed, config, command, device, config.checkpoint, config.extend)


def _methods(config: RunConfig, manifest: Manifest | None) -> list[Method]:
    backbone = config.backbone or (manifest.backbone if manifest else config.backbone_name)
    if backbone not in BACKBONES:
        raise UsageError(unknown("backbone", backbone, BACKBONES))
    if manifest is not None and len(config.method) > 1:
        raise UsageError(f"{_source(config)}: belongs to one method, {len(config.method)} are given")
    classes = {name: load_method(name) for name in config.method}
    stored = manifest.options if manifest else {}
    values = {name: stored | _options_of(name, classes, config.set) for name in classes}
    return [_configure(cls, values[name], backbone, config.pretrained) for name, cls in classes.items()]


def _options_of(name: str, classes: dict[str, type[Method]], given: dict[str, Any]) -> dict[str, Any]:
    """Pick the options of one method: ``key`` goes to every method that has it, ``method.key`` to that one."""
    values = {}
    for key, value in given.items():
        owner, dot, own_key = key.rpartition(".")
        takers = [owner] if dot else [n for n, cls in classes.items() if key in cls.Options.model_fields]
        if not takers or takers[0] not in classes:
            known = sorted({field for cls in classes.values() for field in cls.Options.model_fields})
            hint = unknown("option", own_key, known) if known else "the methods given have no options"
            raise UsageError(f"--set {key}: {hint}")
        if name in takers:
            values[own_key] = value
    return values


def _configure(cls: type[Method], values: dict[str, Any], backbone: str, pretrained: bool) -> Method:
    try:
        options = cls.Options.model_validate(values)
    except ValidationError as error:
        raise UsageError(f"method {cls.name}: --set {first_fault(error)}") from error
    return cls(options, backbone, pretrained)


def _source(config: RunConfig) -> str:
    return f"--checkpoint {config.checkpoint}" if config.checkpoint else f"--extend {config.extend}"


def _check_artifact(manifest: Manifest, method: Method, data: OpenedData, config: RunConfig) -> None:
    source = _source(config)
    if manifest.method != method.name:
        raise UsageError(f"{source}: is an artifact of {manifest.method}, not of {method.name}")
    if manifest.backbone != method.backbone:
        raise UsageError(f"{source}: has the backbone {manifest.backbone}, not {method.backbone}")
    problem = manifest.problem()
    if problem.input_size != data.problem.input_size:
        raise UsageError(
            f"{source}: was trained for inputs of {problem.input_size}, "
            f"{data.dataset.name} gives {data.problem.input_size}"
        )
    theirs = {spec.name: spec.channels for spec in problem}
    wanted = {spec.name: spec.channels for spec in data.problem}
    if config.extend is not None:
        if not theirs.keys() < wanted.keys():
            raise UsageError(f"{source}: must hold some of the tasks {', '.join(wanted)}, holds {', '.join(theirs)}")
        wanted = {name: channels for name, channels in wanted.items() if name in theirs}
    for name, channels in wanted.items():
        if theirs.get(name) != channels:
            raise UsageError(f"{source}: has no {name} with {channels} channels")
