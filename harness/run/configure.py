"""Methods set up for a command: options, backbone, and the check that an artifact is theirs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.backbones import FAMILIES
from harness.backbones import NAMES as BACKBONES
from harness.backbones.shapes import OWN
from harness.errors import HarnessError, MethodError, UsageError, described, first_fault, unknown
from harness.method import Method
from harness.problem import Problem
from harness.recipe import Budget
from harness.registry import load_method
from harness.weights import Start, Weights
from harness.weights.artifact import Manifest

STREAM = "stream."
"""Begin of the settings of ``--set`` that belong to the streams of video data sets."""


def split_settings(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of methods, and those of streams, which are given as ``stream.KEY``."""
    streams = {key.removeprefix(STREAM): value for key, value in given.items() if key.startswith(STREAM)}
    return {key: value for key, value in given.items() if not key.startswith(STREAM)}, streams


def configure(
    names: Sequence[str],
    backbone: str | None,
    given: Mapping[str, Any],
    weights: Start = None,
    budget: Budget = "full",
    stored: Mapping[str, Any] | None = None,
) -> list[Method]:
    """Return methods, set up.

    Args:
        names: The methods.
        backbone: Their encoder; None for each method's own.
        given: Options as the command line gives them: ``key`` goes to every method that has it, ``method.key`` to
            that one.
        weights: What encoders start from.
        budget: Says which encoder is a method's own.
        stored: Options of an artifact, under those given.

    Raises:
        UsageError: a name, an option or its value is unknown.
    """
    if backbone is not None and backbone not in BACKBONES:
        raise UsageError(unknown("backbone", backbone, BACKBONES))
    classes = {name: load_method(name) for name in names}
    values = {name: {**(stored or {}), **_options_of(name, classes, given)} for name in classes}
    return [
        _configure(cls, values[name], backbone or cls.backbone_of(budget), weights) for name, cls in classes.items()
    ]


def method_of(manifest: Manifest, folder: Path) -> Method:
    """Return the method of an artifact, set up as it was saved.

    Raises:
        UsageError: the artifact names a method, a backbone or an option that does not exist.
    """
    try:
        [method] = configure([manifest.method], manifest.backbone, {}, stored=manifest.options)
    except UsageError as error:
        raise UsageError(f"artifact {folder}: {str(error).replace('--set ', '')}") from error
    return method


def check_artifact(
    manifest: Manifest, method: Method, problem: Problem, dataset: str, source: str, extend: bool = False
) -> None:
    """Check that an artifact is a method's and serves a problem.

    Args:
        manifest: Of the artifact.
        method: The method, set up.
        problem: What is to be predicted.
        dataset: Data set that defines the problem, for messages.
        source: The option that named the artifact, for messages.
        extend: Whether tasks are to be added, so that the artifact must lack some.

    Raises:
        UsageError: it does not fit; the message says where.
    """
    if manifest.method != method.name:
        raise UsageError(f"{source}: is an artifact of {manifest.method}, not of {method.name}")
    if manifest.backbone != method.backbone:
        raise UsageError(f"{source}: has the backbone {manifest.backbone}, not {method.backbone}")
    held = manifest.problem()
    if held.input_size != problem.input_size:
        raise UsageError(f"{source}: was trained for inputs of {held.input_size}, {dataset} gives {problem.input_size}")
    theirs = {spec.name: spec.channels for spec in held}
    wanted = {spec.name: spec.channels for spec in problem}
    if extend:
        if not theirs.keys() < wanted.keys():
            raise UsageError(f"{source}: must hold some of the tasks {', '.join(wanted)}, holds {', '.join(theirs)}")
        wanted = {name: channels for name, channels in wanted.items() if name in theirs}
    for name, channels in wanted.items():
        if theirs.get(name) != channels:
            raise UsageError(f"{source}: has no {name} with {channels} channels")


def _options_of(name: str, classes: Mapping[str, type[Method]], given: Mapping[str, Any]) -> dict[str, Any]:
    """Pick the options of one method."""
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


def _configure(cls: type[Method], values: Mapping[str, Any], backbone: str, start: Start) -> Method:
    own = [name for family in cls.families for name in FAMILIES[family]]
    if own and backbone not in own:
        raise UsageError(f"method {cls.name}: runs on {', '.join(own)}, not on {backbone}; leave out -b for its own")
    try:
        options = cls.Options.model_validate(values)
    except ValidationError as error:
        raise UsageError(f"method {cls.name}: --set {first_fault(error)}") from error
    except (Exception, SystemExit) as error:  # of a validator
        raise MethodError(f"method {cls.name}: Options: {described(error)}") from error
    weights: Weights = start if start != "own" else "pretrained" if backbone in OWN else None
    try:
        return cls(options, backbone, weights)
    except HarnessError:
        raise
    except (Exception, SystemExit) as error:  # whatever a method raises is its failure
        raise MethodError(f"method {cls.name}: {described(error)}") from error
