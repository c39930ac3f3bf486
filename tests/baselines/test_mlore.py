"""MLoRE: experts one by one, merged kernels, routers, its options, its auxiliary loss."""

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from vit_decoders import NYUD, PASCAL, SMALL, build, distinct, method

from harness.baselines.mlore.experts import LowRank, Mixture, Widths
from harness.baselines.mlore.model import MLoRENet
from harness.baselines.mlore.routing import Router, imbalance
from harness.counting import count_macs
from harness.errors import MethodError
from harness.problem import Problem

KEYS = ("semseg", "depth")
WIDTHS = Widths(8, (1, 2, 3, 4), 2, 3, True)


def mixture(widths: Widths = WIDTHS) -> Mixture:
    torch.manual_seed(0)
    module = Mixture(KEYS, widths, patches=6)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for value in (norm.running_mean, norm.running_var, norm.weight, norm.bias):
                assert value is not None
                nn.init.uniform_(value, 0.5, 1.5)
    return module.eval()


def maps(images: int = 3) -> dict[str, Tensor]:
    return {key: torch.randn(images, 8, 2, 3) for key in KEYS}


def one_by_one(module: Mixture, entered: dict[str, Tensor]) -> dict[str, Tensor]:
    """Run a mixture as its paper has it: expert after expert, image after image."""
    results = {}
    for key, map_ in entered.items():
        o = module.conv1[key](map_)
        weights, mix = module.router_1[key](o, module.widths.topk, module.widths.pre_softmax)
        summed = torch.stack(
            [
                sum(weight * expert(image[None])[0] for weight, expert in zip(row, module.lora_list_1, strict=True))
                for row, image in zip(weights, o, strict=True)
            ]
        )
        y = module.bn_all[key](summed) + mix[..., None, None] * module.conv2[key](o) + module.share_conv(o.detach())
        results[key] = module.conv3[key](nn.functional.gelu(module.bn[key](y)))
    return results


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_a_mixture_is_its_experts_one_by_one(early: bool, training: bool) -> None:
    module = mixture(Widths(8, (1, 2, 3, 4), 2, 3, early)).train(training)
    entered = maps()
    torch.manual_seed(5)
    expected = one_by_one(module, entered)
    torch.manual_seed(5)
    for key, map_ in module(entered).items():
        torch.testing.assert_close(map_, expected[key], rtol=1e-5, atol=1e-5)


def test_gradients_are_those_of_experts_one_by_one() -> None:
    """Those of experts that no image chose are zero, and there."""
    module, entered = mixture(), maps(1)
    gradients = []
    for run in (one_by_one, lambda module, entered: module(entered)):
        module.zero_grad()
        sum(map_.square().sum() for map_ in run(module, entered).values()).backward()
        gradients.append(
            {key: value.grad.clone() for key, value in module.named_parameters() if value.grad is not None}
        )
    assert gradients[1].keys() == dict(module.named_parameters()).keys()
    for key, value in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("images", [1, 3])
def test_merged_kernels_give_what_the_experts_give(early: bool, images: int) -> None:
    module, entered = mixture(Widths(8, (1, 2, 3, 4), 2, 3, early)), maps(images)
    expected = module(entered)
    with torch.inference_mode():
        for key, map_ in module(entered).items():
            torch.testing.assert_close(map_, expected[key], rtol=1e-5, atol=1e-5)


def test_kernels_are_made_once_and_again_when_weights_change() -> None:
    module, entered = mixture(), maps()
    with torch.inference_mode():
        first = module(entered)
        kernels = module.merge()
        module(entered)
        assert module.merge() is kernels
    with torch.no_grad():
        for expert in module.lora_list_1:
            expert.W.weight.mul_(3.0)
    with torch.inference_mode():
        second = module(entered)
    assert module.merge() is not kernels
    assert not torch.equal(first["depth"], second["depth"])
    torch.testing.assert_close(second, module(entered), rtol=1e-5, atol=1e-5)
    module.load_state_dict(mixture().state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(module(entered), first)


def test_kernels_of_weights_made_in_inference_mode_are_made_once_too() -> None:
    with torch.inference_mode():
        module, entered = mixture(), maps()
        assert module(entered).keys() == entered.keys()


def test_a_pair_of_low_rank_is_one_convolution() -> None:
    pair, map_ = LowRank(5, 2), torch.randn(1, 5, 4, 4)
    kernel, bias = pair.merged()
    torch.testing.assert_close(pair(map_), nn.functional.conv2d(map_, kernel, bias, padding=1))


@pytest.mark.parametrize("early", [True, False])
def test_routers_choose_as_many_experts_as_are_active(early: bool) -> None:
    router, map_ = Router(8, 6, 5).eval(), torch.randn(7, 8, 2, 3)
    weights, mix = router(map_, 2, early)
    logits = router[1](router[0](map_))[:, :5, 0, 0]
    assert ((weights > 0).sum(1) == 2).all()
    assert torch.equal(weights.topk(2).indices.sort().values, logits.topk(2).indices.sort().values)
    assert mix.shape == (7, 1)
    if early:
        torch.testing.assert_close(weights.sum(1), torch.ones(7))
    else:
        torch.testing.assert_close(weights, torch.where(weights > 0, logits.softmax(1), 0.0))


def test_noise_disturbs_routes_in_training_alone() -> None:
    router, map_ = Router(8, 6, 5), torch.randn(2, 8, 2, 3)
    with torch.no_grad():
        assert not torch.equal(router(map_, 5, True)[0], router(map_, 5, True)[0])
        router.eval()
        assert torch.equal(router(map_, 5, True)[0], router(map_, 5, True)[0])


def test_the_shared_convolution_does_not_train_what_comes_before() -> None:
    module, entered = mixture(), {"depth": torch.randn(1, 8, 2, 3, requires_grad=True)}
    for pair in (*module.lora_list_1, *module.conv2.values()):
        nn.init.zeros_(pair.M.weight)  # nothing but the shared convolution depends on the map then, nor on routes
        nn.init.zeros_(pair.M.bias)
    module(entered)["depth"].sum().backward()
    assert module.share_conv.weight.grad.abs().sum() > 0
    assert module.conv1["depth"].weight.grad.abs().sum() == 0


def test_imbalance_is_the_squared_coefficient_of_variation() -> None:
    assert imbalance(torch.ones(2, 3, 15)) == 0
    routes = torch.tensor([[[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]]])  # means 1/2, 1/2, 0
    assert imbalance(routes).item() == pytest.approx((1 / 12) / (1 / 3) ** 2)


def network(data: str = "nyud", **options: object) -> MLoRENet:
    model = distinct(build("mlore", SMALL[data], **options))
    assert isinstance(model, MLoRENet)
    return model


def test_the_auxiliary_loss_is_of_the_last_pass_in_training() -> None:
    model = network().train()
    [stage] = method("mlore").stages(SMALL["nyud"], "quick")
    assert stage.terms is not None
    with pytest.raises(MethodError, match="there was none"):
        stage.terms(model, None, None)  # type: ignore[arg-type]
    output = model.forward_train(torch.randn(2, 3, 32, 48))
    routes = [each.routes for each in model.backbone.mixtures()]
    losses = stage.terms(model, None, output)  # type: ignore[arg-type]
    assert losses["balance"].item() == pytest.approx(1e-4 * sum(imbalance(each).item() for each in routes))
    assert losses["balance"].requires_grad
    assert routes[0].shape == (3, 2, 15)
    model.eval()(torch.randn(1, 3, 32, 48))
    assert model.backbone.mixtures()[0].routes is None


@pytest.mark.parametrize(
    ("backbone", "problem", "giga_macs"),
    [("vit-l16", NYUD, 1405.8), ("vit-l16", PASCAL, 826.6), ("vit-b16", PASCAL, 909.5)],
)
def test_macs_in_the_form_that_is_trained_are_the_references(backbone: str, problem: Problem, giga_macs: float) -> None:
    with torch.device("meta"):
        model = method("mlore", backbone).build(problem).eval()
        images = torch.empty(1, 3, *problem.input_size)
    count = count_macs(lambda: model(images))
    # The routers' last layer runs on the mean here, and on every cell before it there
    mixtures, wide = model.backbone.mixtures(), model.backbone.fea_fuse[0].out_channels
    cells = (problem.input_size[0] // 16) * (problem.input_size[1] // 16)
    by_cell = len(mixtures) * len(problem.tasks) * (cells - 1) * (wide // 4) ** 2
    assert (count.macs + by_cell) / 1e9 == pytest.approx(giga_macs, rel=2e-4)


@pytest.mark.parametrize("data", SMALL)
def test_the_file_for_vit_b_has_weights_that_serve_nothing(data: str) -> None:
    plain, other = network(data), build("mlore", SMALL[data], variant="vitB").eval()
    state = other.state_dict()
    dead = {key for key in state if key.startswith(other.unused)}
    assert state.keys() - plain.state_dict().keys() == dead
    other.load_state_dict({key: torch.full_like(state[key], 7) for key in dead} | plain.state_dict())
    images = torch.randn(1, 3, 32, 48)
    with torch.inference_mode():
        assert all(torch.equal(map_, other(images)[task]) for task, map_ in plain(images).items())
    sum(map_.sum() for map_ in other.train().forward_train(images.repeat(2, 1, 1, 1)).predictions.values()).backward()
    parameters = dict(other.named_parameters())
    assert {key for key, value in parameters.items() if value.grad is None} == dead & parameters.keys()
    assert {part for module in other.parts().values() for part in module.parameters()} == set(parameters.values())


def test_options_replace_single_widths() -> None:
    model = network(rank_list="2,4,6", topk=2, final_embed_dim=12)
    assert model.get_parameter("backbone.MLoRE_2.3.lora_list_1.2.W.weight").shape == (6, 12, 3, 3)
    assert model.get_parameter("backbone.MLoRE_1.0.router_1.depth.1.weight").shape == (7, 6, 1, 1)
    with pytest.raises(ValidationError, match="9 of 3 experts cannot be active"):
        method("mlore", rank_list="1,2,3")
    with pytest.raises(ValidationError, match="ranks of at least 1"):
        method("mlore", rank_list="0,2", topk=1)


def test_the_recipe_is_the_authors() -> None:
    for problem, backbone, lr in ((NYUD, "vit-l16", 1e-5), (PASCAL, "vit-l16", 2e-5), (PASCAL, "vit-b16", 2e-5)):
        [stage] = method("mlore", backbone).stages(problem, "full")
        assert (stage.iterations, stage.batch_size, stage.clip_norm, stage.optimizer.lr) == (40_000, 4, 10.0, lr)
