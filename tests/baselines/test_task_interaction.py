"""MTI-Net and PAD-Net piece by piece, against their formulas written out."""

from itertools import permutations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from harness.backbones import FAMILIES, build_backbone
from harness.baselines.common.interaction import AuxiliaryModel, Distillation, on_the_way
from harness.baselines.common.tasks import key_of
from harness.baselines.mti_net import FeaturePropagation
from harness.errors import UsageError
from harness.problem import Problem, TaskSpec

from hrnet_nets import EDGES_AND_NORMALS, METHODS, NYUD, PASCAL, SIZE, method  # isort: skip


def built(name: str, tasks: tuple[TaskSpec, ...], size: tuple[int, int] = SIZE, **options: object) -> AuxiliaryModel:
    model = method(name, **options).build(Problem(tasks, size))
    assert isinstance(model, AuxiliaryModel)
    for layer in model.modules():  # so that no norm is an identity
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -0.1, 0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
    return model.eval()


@torch.inference_mode()
def test_every_receiver_adds_what_the_others_send_it() -> None:
    sources = (TaskSpec("semseg", 5), TaskSpec("parts", 7), TaskSpec("depth"))
    keys = ["semseg", "human_parts", "depth"]
    module = Distillation((sources[0], sources[2]), sources, 6)
    features = {key: torch.randn(2, 6, 5, 7) for key in keys}
    received = module(features, ["semseg", "depth"])
    weights = module.self_attention.state_dict()
    assert len(weights) == 2 * 2 * 2, "receivers x senders x (features, mask)"
    for target in ("semseg", "depth"):
        expected = features[target].clone()
        for source in set(keys) - {target}:
            mask = F.conv2d(features[source], weights[f"{target}.{source}.attention.0.weight"], padding=1)
            value = F.conv2d(features[source], weights[f"{target}.{source}.conv.weight"], padding=1)
            expected += value / (1 + torch.exp(-mask))
        torch.testing.assert_close(received[target], expected)
    assert module(features, ["depth"]).keys() == {"depth"}


@torch.inference_mode()
@pytest.mark.parametrize("count", [1, 2, 5])
def test_propagation_reads_neighbouring_channels_as_groups(count: int) -> None:
    """Channel k of the concatenated features stands in group k // N at slot k % N; a softmax runs over the slots."""
    channels = 16
    tasks = [f"task{number}" for number in range(count)]
    module = FeaturePropagation(tasks, channels).eval()
    features = {task: torch.randn(2, channels, 3, 4) for task in tasks}
    concatenated = torch.cat(list(features.values()), dim=1)
    scores = module.non_linear(concatenated).exp()
    mixed = torch.empty_like(concatenated)
    for channel in range(count * channels):
        first = channel // count * count
        share = scores[:, channel] / scores[:, first : first + count].sum(dim=1)
        mixed[:, channel] = share * concatenated[:, channel]
    shared = module.dimensionality_reduction(mixed)
    for task, propagated in module(features).items():
        hidden = module.se[task].squeeze[0](shared.flatten(2).mean(dim=2)).relu()
        factors = module.se[task].squeeze[2](hidden).sigmoid()
        torch.testing.assert_close(propagated, features[task] + shared * factors[:, :, None, None])


@pytest.mark.parametrize("tasks", [NYUD, PASCAL, PASCAL[2:4]], ids=["nyud", "pascal", "two"])
@pytest.mark.parametrize("name", [*METHODS, "multi-task"])
def test_the_order_of_the_tasks_changes_nothing(name: str, tasks: tuple[TaskSpec, ...]) -> None:
    models = [method(name).build(Problem(order, SIZE)).eval() for order in (tasks, tasks[::-1])]
    models[1].load_state_dict(models[0].state_dict())
    images = torch.randn(1, 3, *SIZE)
    with torch.inference_mode():
        one, other = (model(images) for model in models)
    for task in tasks:
        torch.testing.assert_close(one[task.name], other[task.name])


def test_auxiliary_tasks_stand_in_the_order_of_the_reference() -> None:
    for tasks in permutations(NYUD[:2]):
        names = [task.name for task in on_the_way(Problem(tasks, SIZE), ("boundary", "normals", "depth"))]
        assert names == ["semseg", "normals", "boundary", "depth"]


@pytest.mark.parametrize("size", [(64, 96), (112, 144)])
@pytest.mark.parametrize(("name", "sets"), [("mti-net", 4), ("pad-net", 1)])
def test_predictions_on_the_way_are_supervised_at_input_size(name: str, sets: int, size: tuple[int, int]) -> None:
    model = built(name, NYUD[:2], size, **EDGES_AND_NORMALS)
    images = torch.randn(2, 3, *size)
    with torch.inference_mode():
        output = model.forward_train(images)
        final, auxiliary = model.with_auxiliary(images)
        plain = model(images)
    assert len(output.intermediate) == len(auxiliary) == sets
    for supervised, made in zip(output.intermediate, auxiliary, strict=True):
        assert set(supervised) == {"semseg", "depth"}, "there are no labels for the others"
        assert set(made) == {"semseg", "depth", "normals", "edge"}
        for task, map_ in supervised.items():
            assert torch.equal(map_, F.interpolate(made[key_of(task)], size, mode="bilinear"))
    assert [maps["edge"].shape[2] for maps in auxiliary] == [-(-size[0] // stride) for stride in (4, 8, 16, 32)[:sets]]
    for task, map_ in plain.items():
        assert torch.equal(map_, output.predictions[task])
        assert torch.equal(map_, final[task])


@pytest.mark.parametrize("name", METHODS)
def test_every_weight_of_a_trained_model_gets_a_gradient(name: str) -> None:
    model = method(name).build(Problem(PASCAL, SIZE)).train()
    output = model.forward_train(torch.randn(2, 3, *SIZE))
    total = sum(map_.square().mean() for maps in (output.predictions, *output.intermediate) for map_ in maps.values())
    total.backward()
    assert [key for key, weight in model.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize("name", METHODS)
def test_auxiliary_tasks_are_refused_in_training_and_counted_elsewhere(name: str) -> None:
    subject = method(name, auxiliary="normals, boundary")
    problem = Problem(NYUD[:2], SIZE)
    with pytest.raises(UsageError, match=r"normals, boundary would be .* without labels") as caught:
        subject.stages(problem, "full")
    assert "\n" not in str(caught.value)
    assert subject.stages(Problem(NYUD, SIZE), "full"), "with their labels they are like all others"
    with torch.device("meta"):
        more, less = subject.build(problem), method(name).build(problem)
    assert set(more.state_dict()) > set(less.state_dict())


@pytest.mark.parametrize("name", METHODS)
def test_the_full_recipe_is_the_published_one(name: str) -> None:
    [stage] = method(name, "hrnet18-small").stages(Problem(NYUD, (480, 640)), "full")
    assert (stage.optimizer.name, stage.optimizer.lr, stage.optimizer.weight_decay) == ("adam", 1e-4, 1e-4)
    assert (stage.epochs, stage.batch_size, stage.sized(795).iterations) == (100, 8, 9900)
    assert (stage.schedule.name, stage.schedule.power, stage.schedule.steps) == ("poly", 0.9, 100)
    [joint] = method("multi-task", "hrnet18-small").stages(Problem(NYUD, (480, 640)), "full")
    assert (joint.optimizer, joint.epochs) == (stage.optimizer, 100)
    [transformer] = method("multi-task", "vit-b16").stages(Problem(NYUD, (448, 576)), "full")
    assert transformer.optimizer.lr == 2e-5


@pytest.mark.parametrize("name", METHODS)
def test_batch_norms_outside_the_encoder_keep_the_usual_momentum(name: str) -> None:
    with torch.device("meta"):
        model = method(name).build(Problem(NYUD[:2], SIZE))
        own = set(build_backbone("hrnet-micro", SIZE).state_dict())
    for key, layer in model.named_modules():
        if isinstance(layer, nn.BatchNorm2d):
            within = key.removeprefix("backbone.").removeprefix("0.") + ".weight"
            encoder = key.startswith("backbone.") and within in own
            assert layer.momentum == (0.01 if encoder else 0.1), key


@pytest.mark.parametrize("backbone", FAMILIES["hrnet"])
@pytest.mark.parametrize("name", METHODS)
def test_both_run_on_every_hrnet(name: str, backbone: str) -> None:
    with torch.device("meta"):
        model = method(name, backbone).build(Problem(PASCAL, (128, 128)))
        assert model(torch.empty(1, 3, 128, 128, device="meta"))["saliency"].shape == (1, 1, 128, 128)
