"""Configurations of commands: one source for flags, the keys of a YAML file and the Python API."""

import re
from operator import not_
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from harness.compute import CompileMode, Precision
from harness.data import Split
from harness.data.parallel import loader_processes
from harness.errors import UsageError, first_fault, shortened, shown
from harness.export.settings import Aided, Served
from harness.recipe import Budget, Overwrite
from harness.weights import Start, WeightFile

_LARGEST = 2**63
"""Integers in records and files stay below it: JSON readers elsewhere use 64 bits."""
_LARGEST_SIDE = 8192
"""Pixels: activations of a larger image fit no memory."""
_MOST_WORKERS = 256
"""Processes: more than any machine loads with; a typing error would fork without end."""

_NO_METHOD = "no method is named; give -m METHOD, `harness ls methods` lists them"

Count = Annotated[int, Field(ge=1, lt=2**31)]
Loaders = Annotated[int, BeforeValidator(loader_processes), Field(ge=0, le=_MOST_WORKERS)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Config(BaseModel):
    """Settings of every command that runs models or scores their predictions."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    plugin: list[str] = []
    output: Path = Path("results/measured")
    quiet: bool = False

    @classmethod
    def read(cls, path: Path | None, overrides: dict[str, Any]) -> Self:
        """Return the configuration of a YAML file with ``overrides`` over it.

        Args:
            path: YAML file whose keys are the fields of this class; None for none.
            overrides: Fields given on the command line.

        Raises:
            UsageError: the file or a value is wrong; the message names the key.
        """
        # Texts of the command line that no path and no record can hold; pydantic would pass them.
        for key, value in overrides.items():
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str | Path) and (fault := _text_fault(str(text))):
                    raise UsageError(f"--{key.replace('_', '-')}: {fault}")
        try:
            return cls.model_validate((_options(path) if path is not None else {}) | overrides)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            lacks = first["loc"] == ("method",) and first["type"] in ("missing", "too_short")
            place = f"{path}: " if path is not None else ""
            raise UsageError(f"{place}{_NO_METHOD if lacks else first_fault(error)}") from error

    @field_validator("method", "dataset", "seed", "task", "backbone", "precision", "batch_size", check_fields=False)
    @classmethod
    def _no_repeats(cls, values: Any) -> Any:
        if isinstance(values, list) and len(set(values)) != len(values):
            raise ValueError("names the same value twice")
        return values


class SizedConfig(Config):
    """Settings of a command that defines a problem, with the size of its inputs."""

    input_size: tuple[int, int] | None = Field(default=None, description="Height and width; null: the data set's.")

    @field_validator("input_size", mode="before")
    @classmethod
    def _height_x_width(cls, value: Any) -> Any:
        # Nine digits at most, which every system's integers hold; the range is checked below.
        if isinstance(value, str):
            sides = re.fullmatch(r"([0-9]{1,9})[xX]([0-9]{1,9})", value.strip())
            if sides is None:
                raise ValueError(f"must be height x width, for example 448x576, not {shown(value)}")
            return int(sides[1]), int(sides[2])
        return value

    @field_validator("input_size")
    @classmethod
    def _of_an_image(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value is not None and not all(1 <= side <= _LARGEST_SIDE for side in value):
            raise ValueError(f"height and width must be 1 to {_LARGEST_SIDE} pixels, not {value[0]}x{value[1]}")
        return value


class DataConfig(SizedConfig):
    """The images that are scored and the rules of scoring, for runs and for saved predictions."""

    data_root: Path | None = None
    limit: Count | None = Field(default=None, description="Use only the first images of each split.")
    protocol: str = "invpt"
    protocol_set: dict[str, Any] = Field(default={}, description="Single options over the protocol's profile.")

    @property
    def protocol_name(self) -> str:
        """The protocol as tables name it: its profile and the options that differ from it."""
        return "+".join([self.protocol, *(f"{key}={value}" for key, value in sorted(self.protocol_set.items()))])


class ScoreConfig(DataConfig):
    """Saved predictions to score."""

    predictions: Path
    dataset: str
    name: str | None = Field(
        default=None, min_length=1, max_length=200, description="Method in tables; null: the folder's name."
    )

    @field_validator("name")
    @classmethod
    def _printable(cls, value: str | None) -> str | None:
        if value is not None and not value.isprintable():
            raise ValueError("a name has printable characters alone")
        return value

    @property
    def method_name(self) -> str:
        """The method's name, resolved."""
        return self.name or self.predictions.resolve().name


class RunConfig(DataConfig, Served, Aided):
    """A matrix of runs: every method on every data set with every seed."""

    method: list[str] = Field(min_length=1)
    dataset: list[str] = Field(default=["nyud-synth"], min_length=1)
    seed: list[Annotated[int, Field(gt=-_LARGEST, lt=_LARGEST)]] = Field(default=[0], min_length=1)
    task: list[str] = Field(default=[], description="Tasks to serve; empty for all of the data set.")
    backbone: str | None = Field(default=None, description="Encoder; null for each method's own for the budget.")
    init: Literal["random", "pretrained"] | Path | None = Field(
        default=None,
        description="Start of the encoders, or a file of it; null: pretrained for full; for quick the weights of this "
        "project where it has some, and random ones elsewhere; random for medium.",
    )
    budget: Budget = "quick"
    iterations: Count | None = Field(default=None, description="Steps of every stage, instead of the budget's.")
    checkpoint: Path | None = Field(
        default=None, description="Artifact, or file of a published checkpoint, to load instead of training."
    )
    extend: Path | None = Field(default=None, description="Artifact to add the missing tasks to, training only those.")
    device: str | None = Field(default=None, description="Null: a GPU when there is one.")
    precision: Precision = "fp32"
    deterministic: bool = Field(
        default=False,
        exclude_if=lambda value: value is False,  # records of runs without it stay as they were
        description="Use deterministic kernels alone: equal results on a GPU too, more slowly.",
    )
    batch_size: Count = Field(default=8, description="Images per step of the evaluation.")
    workers: Loaders = Field(default=0, description="Loader processes; 0: none, `auto`: usable cores but one.")
    set: dict[str, Any] = Field(default={}, description="The methods' options.")
    save_predictions: Path | None = Field(default=None, description="Folder of predictions, one below it per run.")
    save_every: float = Field(default=30.0, ge=0, description="Seconds between training checkpoints.")
    publish: str | None = Field(default=None, exclude_if=not_, description="URL of a store for finished runs.")
    track: list[str] = Field(default=[], exclude_if=not_, description="Trackers: tensorboard, wandb, mlflow ...")
    overwrite: Overwrite = "only-missing"
    probe: list[str] = Field(default=[], description="Costs to measure; empty for all, `none` for none.")
    min_seconds: Seconds = Field(default=3.0, description="Least seconds of timing per method.")

    @model_validator(mode="after")
    def _one_artifact(self) -> Self:
        if self.checkpoint is not None and self.extend is not None:
            raise ValueError("checkpoint and extend exclude each other")
        if self.checkpoint is not None and self.init is not None:
            raise ValueError("checkpoint and init exclude each other: an artifact brings all weights")
        return self

    @property
    def weights(self) -> Start:
        """The start of the encoders, resolved; a file of weights that does not exist is a `UsageError`."""
        if self.checkpoint is not None:
            return None
        if isinstance(self.init, Path):
            return WeightFile(self.init)
        if self.init is None:
            starts: dict[Budget, Start] = {"quick": "own", "medium": None, "full": "pretrained"}
            return starts[self.budget]
        return "pretrained" if self.init == "pretrained" else None


class BenchConfig(SizedConfig, Served):
    """A matrix of costs: every method on every data set with every backbone, precision and batch size."""

    method: list[str] = Field(min_length=1)
    dataset: list[str] = Field(default=["nyud"], min_length=1, description="Data sets that define the tasks.")
    task: list[str] = Field(default=[], description="Tasks to serve; empty for all of the data set.")
    backbone: list[str] = Field(default=[], description="Encoders; empty for each method's own, or the artifact's.")
    checkpoint: Path | None = Field(
        default=None, description="Artifact, or file of a published checkpoint, to measure instead of random weights."
    )
    device: str | None = Field(default=None, description="Null: a GPU when there is one.")
    precision: list[Precision] = Field(default=["fp32"], min_length=1)
    batch_size: list[Count] = Field(default=[1], min_length=1, description="Images per pass.")
    compile: CompileMode | None = Field(default=None, description="Mode of torch.compile; null for eager execution.")
    cuda_graph: bool = False
    channels_last: bool = False
    min_iterations: Count | None = Field(default=None, description="Least samples; null: the device's default.")
    min_seconds: Seconds | None = Field(default=None, description="Least seconds of timing per method.")
    max_seconds: Seconds | None = Field(default=None, description="Most seconds of timing per method.")
    set: dict[str, Any] = Field(default={}, description="The methods' options.")
    probe: list[str] = Field(default=[], description="Costs to measure; empty for all.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        # A file is a published checkpoint, which does not say its tasks; a folder is an artifact, which does.
        artifact = self.checkpoint is not None and not self.checkpoint.is_file()
        if artifact and (self.task or self.input_size):
            raise ValueError("an artifact brings its own tasks and input size; leave out task and input_size")
        if self.checkpoint is not None and len(self.method) * len(self.dataset) > 1:
            raise ValueError("checkpoint belongs to one method on one data set")
        return self


class PredictConfig(Config):
    """Images to predict and draw: files and folders, or the scenes of a data set."""

    checkpoint: Path = Field(description="Artifact of the model; it says the tasks and the size of the input.")
    method: str | None = Field(default=None, description="Null: the artifact's.")
    image: list[Path] = Field(default=[], description="Files and folders; empty with a data set.")
    dataset: str | None = Field(default=None, description="Draw its scenes with their labels.")
    data_root: Path | None = None
    split: Split = "val"
    limit: Count | None = Field(default=None, description="Draw only the first images.")
    task: list[str] = Field(default=[], description="Tasks to draw; empty for all of the artifact.")
    output: Path = Path("pictures")
    device: str | None = Field(default=None, description="Null: a GPU when there is one.")
    precision: Precision = "fp32"

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.image) == bool(self.dataset):
            raise ValueError("give images, or a data set with -d; one of the two")
        if self.dataset is None and self.data_root is not None:
            raise ValueError("--data-root belongs to a data set; name it with -d")
        return self


def _options(path: Path) -> dict[str, Any]:
    """Return the options in a YAML file."""
    if not path.is_file():  # a pipe would block for ever
        raise UsageError(f"config {path}: {'No such file' if not path.exists() else 'is no regular file'}")
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"config {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"config {path}: no valid YAML ({shortened(str(error))})") from error
    content = parse_yaml(text, f"config {path}")
    if not isinstance(content, dict):
        raise UsageError(f"config {path}: must be a mapping of option to value")
    return {str(key).replace("-", "_"): value for key, value in content.items()}


def parse_assignments(pairs: tuple[str, ...], option: str) -> dict[str, Any]:
    """Return ``key=value`` pairs as a dictionary; values are YAML scalars.

    Raises:
        UsageError: a pair has no ``=``, or its value is no YAML.

    >>> parse_assignments(("share=0.5", "tasks=[semseg, depth]"), "--set")
    {'share': 0.5, 'tasks': ['semseg', 'depth']}
    """
    values = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"{option} {shown(pair)}: expected key=value")
        values[key] = parse_yaml(text, f"{option} {shortened(pair, 60)}")
    return values


class _PlainLoader(yaml.SafeLoader):
    """Loads YAML without aliases: nested ones make a few hundred bytes into more than any memory can take."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not read")
        return super().compose_node(parent, index)


def parse_yaml(text: str, place: str) -> Any:
    """Return the content of YAML that holds plain values: no aliases, dates, sets or bytes.

    Args:
        text: The document.
        place: Where it comes from, for messages.

    Raises:
        UsageError: it cannot be read; the message names the key.
    """
    # Through the nodes rather than `yaml.load`, so that the message can name the key and see it twice.
    key = ""
    try:
        loader = _PlainLoader(text)
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            return None if node is None else _plain(loader.construct_document(node))
        values: dict[Any, Any] = {}
        for name, value in node.value:  # one by one, so that a wrong value can be named
            key = f"{shortened(str(name.value), 60)}: "
            constructed = loader.construct_document(name)
            if constructed in values:
                raise ValueError("is there twice")
            values[constructed] = _plain(loader.construct_document(value))
    except Exception as error:  # PyYAML raises ValueError, KeyError, AttributeError, RecursionError and more
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error) or type(error).__name__
        raise UsageError(f"{place}: {key}no valid YAML ({shortened(reason.splitlines()[0])})") from error
    return values


def _plain(value: Any) -> Any:
    """Return a value that JSON can write as it is.

    Raises:
        ValueError: it is another one.
    """
    if isinstance(value, dict):
        for key, item in value.items():
            _plain(key), _plain(item)
    elif isinstance(value, list):
        for item in value:
            _plain(item)
    elif isinstance(value, int) and abs(value) >= _LARGEST:
        raise ValueError("a number has more than 63 bits")
    elif isinstance(value, str) and (fault := _text_fault(value)):
        raise ValueError(fault)
    elif value is not None and not isinstance(value, int | float | str):
        raise ValueError(f"a value is a {type(value).__name__}; write it in quotes to make it a text")
    return value


def _text_fault(text: str) -> str | None:
    """Return why a text cannot be part of a path or a record."""
    # Surrogates are bytes of a command line that are no UTF-8; JSON could not store them.
    if "\0" in text:
        return "a text has a zero byte"
    if any("\ud800" <= character <= "\udfff" for character in text):
        return f"{text.encode('ascii', 'backslashreplace').decode()} is no valid UTF-8"
    return None
