"""One cell of the matrix: what is run, what its results depend on, and the folder they go to."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import harness
from harness.backbones.own_weights import own_sha256
from harness.backbones.shapes import OWN
from harness.compute import Compute
from harness.config import RunConfig
from harness.data.open import OpenedData
from harness.errors import HarnessError, MethodError, described
from harness.export.settings import Aided
from harness.files import digest
from harness.method import MatchedEffort, Method, Stage
from harness.registry import source_digest
from harness.run.configure import split_settings
from harness.tasks import build_task
from harness.training import parallel
from harness.weights import WeightFile
from harness.weights.artifact import Manifest, digest_artifact, read_manifest

ARTIFACT = "artifact"
"""Name of the model's folder in the folder of a run."""

_LATER = ("holds_out", "elsewhere")
"""Fields of a stage that came after runs were named by the others."""


@dataclass(frozen=True)
class Artifact:
    """The folder of an exported model, read once for all jobs of a command.

    Args:
        path: The folder.

    Raises:
        UsageError: it holds no artifact.
    """

    path: Path

    def __post_init__(self) -> None:
        assert self.manifest is not None

    @cached_property
    def manifest(self) -> Manifest:
        """Its manifest."""
        return read_manifest(self.path)

    @cached_property
    def sha256(self) -> str:
        """The sha256 over names and contents of its files."""
        return digest_artifact(self.path)


class Job:
    """A method on a data set with a seed. Recipe, identity and folder are computed here, once.

    Args:
        method: The method, set up.
        data: The opened data set, with the protocol that holds on it.
        seed: Source of all randomness.
        config: The matrix this is a cell of.
        compute: Device and arithmetic of the forward passes.
        start: Artifact to evaluate, or published checkpoint to make one from, instead of training; None to train.
        extend: Artifact to add the missing tasks to; None to train all of them.
        effort: Images of every task that the other methods of the command are trained on, at most.

    Attributes:
        stages: The training recipe, of the added tasks alone where an artifact is extended; empty without training.
        identity: Everything the results depend on; equal identities give equal results.
        run_id: Folder of the run below the results folder.
        folder: That folder, with the record, the artifact and, while training, the checkpoint.
        title: Head of progress bars and messages.
        tasks: Task objects by name.
        warnings: Lines for the screen that came up while it ran.
        begun: Whether anything was run; a complete run is only read.

    Raises:
        MethodError: the method gives no usable recipe.
    """

    def __init__(
        self,
        method: Method,
        data: OpenedData,
        seed: int,
        config: RunConfig,
        compute: Compute,
        start: Artifact | WeightFile | None = None,
        extend: Artifact | None = None,
        effort: Mapping[str, int] | None = None,
    ) -> None:
        self.method, self.data, self.seed, self.config, self.compute = method, data, seed, config, compute
        if isinstance(method, MatchedEffort) and start is None:
            method.match(effort or {})
        self.artifact = start if isinstance(start, Artifact) else None
        self.published = start if isinstance(start, WeightFile) else None
        self.extend = extend
        self.title = title_of(method, data, seed)
        self.stages = recipe_of(method, data, config, extend) if start is None else []
        self.identity = self._identity()
        name = f"{method.name}.{method.backbone}.{config.budget}.seed{seed}.{digest(self.identity)[:8]}"
        self.run_id = f"{data.dataset.name}/{name}"
        self.folder = config.output / self.run_id
        self.warnings: list[str] = []
        self.begun = False
        self.tasks = {spec.name: build_task(spec) for spec in data.problem}

    def _identity(self) -> dict[str, Any]:
        config, data, method = self.config, self.data, self.method
        # Stages as plain values; functions by their names.
        stages = []
        for stage in self.stages:
            functions = {"weigh": stage.weigh, "terms": stage.terms, "prepare": stage.prepare}
            values = asdict(replace(stage, weigh=None, terms=None, prepare=None))
            del values["network"], values["after"]  # whether a stage is shared, or waits, changes no result
            # Left out where they say nothing, so that folders of runs from before them keep their names.
            values = {key: value for key, value in values.items() if key not in _LATER or value}
            named = {key: getattr(call, "__qualname__", None) for key, call in functions.items()}
            stages.append(values | named)
        return {
            "method": method.name,
            "options": method.options.model_dump(mode="json"),
            "backbone": method.backbone,
            "weights": _start(method),
            "artifact": self.artifact.sha256 if self.artifact else None,
            "published": self.published.sha256 if self.published else None,
            "extend": self.extend.sha256 if self.extend else None,
            "dataset": data.dataset.name,
            "val": data.val.fingerprint,
            "train": data.train.fingerprint if data.train else None,
            "tasks": list(data.problem.names),
            "input_size": list(data.problem.input_size),
            "protocol": data.protocol.model_dump(mode="json"),
            "budget": config.budget,
            "stages": None if self.artifact or self.published else stages,
            "precision": config.precision,
            "device": self.compute.device.type,
            # Left out without the flag, so that folders of runs from before it keep their names.
            **({"deterministic": True} if config.deterministic else {}),
            # Likewise: of streams that are not set up otherwise than the method does.
            **({"stream": stream} if (stream := split_settings(config.set)[1]) else {}),
            # Likewise what serves the model.
            **config.model_dump(include={"runtime", "quantise", *Aided.model_fields}),
            "seed": self.seed,
            # Sums over processes are rounded in another order than those of one.
            **({"processes": parallel.world()} if parallel.world() > 1 else {}),
            # Code that computes the results: of the plug-ins byte by byte, of the rest by its version.
            "harness": harness.__version__,
            "source": {"method": source_digest(type(method)), "dataset": source_digest(type(data.dataset))},
        }


def _start(method: Method) -> str | None:
    """Return the start of the encoders as results depend on it: the content of a file, else its name."""
    if isinstance(method.weights, WeightFile):
        return method.weights.sha256
    if method.weights == "pretrained" and method.backbone in OWN:
        return own_sha256(method.backbone)
    return method.weights


def title_of(method: Method, data: OpenedData, seed: int) -> str:
    """Return the head of progress bars and messages of a run."""
    return f"{method.name} on {data.dataset.name}, seed {seed}:"


def images_of(stages: Sequence[Stage]) -> dict[str, int]:
    """Return the images that every task is trained on by a recipe, repetitions counted."""
    images: dict[str, int] = {}
    for stage in stages:
        for task in stage.tasks:
            images[task] = images.get(task, 0) + stage.iterations * stage.batch_size
    return images


def recipe_of(method: Method, data: OpenedData, config: RunConfig, extend: Artifact | None) -> list[Stage]:
    """Return the training recipe of a method, checked, with the number of steps of each stage.

    Raises:
        MethodError: it is none; the message says where.
    """
    known = data.problem.names
    try:
        stages = method.stages(data.problem, config.budget)
        if not isinstance(stages, list | tuple) or not all(isinstance(stage, Stage) for stage in stages):
            raise MethodError(f"stages must return a list of Stage, not {str(stages)[:80]!r} ({type(stages).__name__})")
        names = [stage.name for stage in stages]
        for stage in stages:
            if not isinstance(stage.name, str) or names.count(stage.name) > 1:
                raise MethodError(f"stages: the name {stage.name!r} must be a text that no other stage has")
            place = f"stage {stage.name}:"
            if not stage.tasks or isinstance(stage.tasks, str) or set(stage.tasks) - set(known):
                raise MethodError(f"{place} tasks {stage.tasks!r} must be a tuple of some of {', '.join(known)}")
            counts = {"batch_size": stage.batch_size, "iterations or epochs": stage.epochs or stage.iterations}
            for field, value in counts.items():
                if not isinstance(value, int) or value < 1:
                    raise MethodError(f"{place} {field} must be a whole number from 1, not {value!r}")
    except HarnessError:
        raise
    except (Exception, SystemExit) as error:  # whatever a method raises is its failure
        raise MethodError(f"stages: {described(error)}") from error
    if extend is not None:  # what the artifact holds is trained already
        held = {spec.name for spec in extend.manifest.problem()}
        stages = [stage for stage in stages if not held.issuperset(stage.tasks)]
    if config.iterations is not None:
        return [stage if stage.elsewhere else replace(stage, iterations=config.iterations) for stage in stages]
    assert data.train is not None
    return [stage.sized(len(data.train)) for stage in stages]
