"""Python entry points: a trained model from its artifact, and its metrics on a data set."""

from collections.abc import Sequence
from pathlib import Path

from harness.compute import Compute, pick_device
from harness.data.loading import eval_batches
from harness.data.open import open_data
from harness.errors import UsageError
from harness.method.artifacts import load_artifact
from harness.model import MultiTaskModel
from harness.progress import RunProgress
from harness.protocol import Protocol
from harness.records.metric import Metric
from harness.registry import load_dataset, load_plugin
from harness.run.configure import method_of
from harness.run.evaluate import evaluate as score_batches
from harness.tasks import build_task
from harness.weights.artifact import read_manifest


def load(
    artifact: Path | str, *, tasks: Sequence[str] | None = None, device: str | None = "cpu", plugin: Sequence[str] = ()
) -> MultiTaskModel:
    """Return the model of an artifact, in evaluation mode.

    Args:
        artifact: Folder that `harness run` exported, ``results/.../artifact``.
        tasks: Tasks that will be asked for; what they do not need may be left unread. None for all.
        device: Where to compute; None for a GPU when there is one.
        plugin: Python files or modules that define its method, where no installed package does.

    Returns:
        A module that maps normalised images [B, 3, H, W] to ``{task: raw map [B, C, H, W]}``; ``model.problem`` has
        its tasks and input size.

    Raises:
        UsageError: the folder is no artifact, or is damaged.

    Example:
        >>> from harness import load
        >>> load("nowhere")
        Traceback (most recent call last):
        ...
        harness.errors.UsageError: nowhere is no artifact: it has no artifact.json
    """
    for source in plugin:
        load_plugin(source)
    folder = Path(artifact)
    manifest = read_manifest(folder)
    model = load_artifact(method_of(manifest, folder), folder, manifest.problem().names if tasks is None else tasks)
    return model.to(pick_device(device)).eval()


def evaluate(
    model: MultiTaskModel,
    dataset: str = "nyud-synth",
    *,
    data_root: Path | str | None = None,
    tasks: Sequence[str] = (),
    limit: int | None = None,
    protocol: str = "invpt",
    batch_size: int = 8,
    workers: int = 0,
    compute: Compute | None = None,
    quiet: bool = False,
) -> dict[str, dict[str, Metric]]:
    """Return the metrics of a model on the validation images of a data set, by the field's protocol.

    Any `MultiTaskModel` can be scored, trained here or not. Nothing is written; `harness.run` writes records.

    Args:
        model: The model; its input size is used.
        dataset: Name of the data set.
        data_root: Folder of the data; None for the default places.
        tasks: Tasks to score; empty for all of the model that the data set has labels of.
        limit: Use only the first images.
        protocol: Profile of evaluation conventions, a key of `harness.protocol.PROFILES`.
        batch_size: Images per forward pass.
        workers: Loader processes.
        compute: Device and precision; None for float32 on the device of the model.
        quiet: Show no progress.

    Returns:
        Task name to its metrics by name, the headline first; a metric that could not be had is null with the reason.

    Raises:
        UsageError: an unknown name, or no task of the model has labels.
        DataError: the data is missing or damaged.
        MethodError: the model's predictions are not those of its tasks.
    """
    opened = load_dataset(dataset)
    known = {spec.name for spec in opened.tasks}
    served = [name for name in tasks or model.problem.names if name in known]
    if not served:
        raise UsageError(f"{dataset} has labels of none of the tasks {', '.join(tasks or model.problem.names)}")
    root = Path(data_root) if data_root is not None else None
    data = open_data(opened, root, served, Protocol.profile(protocol), limit, False, model.problem.input_size)
    if compute is None:
        first = next(iter(model.parameters()), None)
        compute = Compute(pick_device("cpu") if first is None else first.device)
    batches = eval_batches(data.val, data.transform, batch_size, workers)
    subjects = {spec.name: build_task(spec) for spec in data.problem}
    return score_batches(model, batches, len(data.val), subjects, data.protocol, compute, RunProgress(quiet))
