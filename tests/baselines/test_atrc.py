"""ATRC: figures of the reference, genotypes, contexts by hand, coarse predictions, padding, checkpoints."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from harness.backbones.hrnet import HRNetEncoder
from harness.baselines.atrc import ATRC
from harness.baselines.atrc.context import Context
from harness.baselines.atrc.genotype import Kind, default_genotype
from harness.baselines.atrc.losses import coarse_losses, directions, target_classes
from harness.baselines.atrc.model import ATRCNet, CoarseOutput, over_space, padding_of
from harness.counting import count_macs
from harness.data.sample import Batch
from harness.errors import UsageError
from harness.method import load_published
from harness.problem import Problem, TaskSpec
from harness.weights import WeightFile

NYUD = Problem((TaskSpec("semseg", 40), TaskSpec("depth"), TaskSpec("normals"), TaskSpec("boundary")), (448, 576))
SMALL = Problem((TaskSpec("boundary"), TaskSpec("depth"), TaskSpec("semseg", 5), TaskSpec("saliency")), (64, 96))


def method(backbone: str = "hrnet-micro", genotype: str | None = None) -> ATRC:
    return ATRC(ATRC.Options(genotype=genotype), backbone)


def build(problem: Problem = SMALL, genotype: str | None = None) -> ATRCNet:
    torch.manual_seed(0)
    return method(genotype=genotype).build(problem).eval()


def test_parameters_keys_and_macs_are_the_references() -> None:
    with torch.device("meta"):
        model = method("hrnet18-small").build(NYUD).eval()
        images = torch.empty(1, 3, *NYUD.input_size)
    with torch.inference_mode():
        count = count_macs(lambda: model(images), model.parts())
    assert set(count.per_part) == set(model.parts())
    assert sum(value.numel() for value in model.parameters()) == 5_060_994
    assert len(model.state_dict()) == 1456
    assert count.macs / 1e9 == pytest.approx(26.9, abs=0.3)


@pytest.mark.parametrize("kind", [Kind.GLOBAL, Kind.SOURCE_LABEL])
def test_a_context_is_the_formula(kind: Kind) -> None:
    torch.manual_seed(0)
    block = Context(8, 4, kind).eval()
    target, source = torch.randn(2, 8, 3, 5), torch.randn(2, 8, 7, 1)
    query, key = block.query_project(target).flatten(2), block.key_project(source).flatten(2)
    value = block.value_project(source).flatten(2)
    expected = torch.empty(2, 4, 15)
    for image in range(2):
        for pixel in range(15):
            scores = key[image].T @ query[image, :, pixel] / math.sqrt(4)
            weights = scores.softmax(0)
            if kind is Kind.GLOBAL:
                positive = torch.nn.functional.softplus
                weights = positive(key[image]).T @ positive(query[image, :, pixel])
                weights = weights / weights.sum()
            expected[image, :, pixel] = value[image] @ weights
    torch.testing.assert_close(block(target, source), expected.view(2, 4, 3, 5))


def test_coarse_predictions_are_those_that_contexts_read() -> None:
    images = torch.randn(1, 3, *SMALL.input_size)
    with torch.inference_mode():
        # Order semseg, depth, saliency, boundary: semseg's own regions and those of saliency are read
        output = build(genotype="3100,0000,1014,0000").forward_train(images)
        some = build(genotype="3100,0000,1014,0000").forward_train(images, ["depth"])
    assert isinstance(output, CoarseOutput)
    assert sorted(output.coarse) == ["boundary", "semseg"]
    assert output.coarse["boundary"].shape == (1, 2, 16, 24)
    assert some.coarse == {}
    torch.testing.assert_close(some.predictions["depth"], output.predictions["depth"])


def test_losses_of_coarse_predictions_reach_no_encoder() -> None:
    model = build().train()
    labels = {
        "semseg": torch.randint(0, 5, (2, 1, 64, 96)).float(),
        "depth": 0.5 + 10 * torch.rand(2, 1, 64, 96),
        "saliency": torch.randint(0, 2, (2, 1, 64, 96)).float(),
        "boundary": torch.randint(0, 2, (2, 1, 64, 96)).float(),
    }
    labels["semseg"][0] = 255
    batch = Batch(
        images=torch.randn(2, 3, 64, 96), labels=labels, ids=["a", "b"], sizes=[(64, 96)] * 2, offsets=[(0, 0)] * 2
    )
    output = model.forward_train(batch.images)
    losses = coarse_losses(model, batch, output)
    assert losses.keys() == {f"coarse/{task}" for task in SMALL.names}
    sum(losses.values()).backward()  # type: ignore[union-attr]
    learned = {name.split(".")[1] for name, value in model.named_parameters() if value.grad is not None}
    assert learned == {"aux_conv", "aux_logits"}


def test_depth_is_sorted_into_bins_of_equal_ratio_and_normals_by_direction() -> None:
    depth = torch.tensor([0.1, 0.7, 0.7 * (10 / 0.7) ** (1.5 / 40), 9.999, 50.0, 255.0]).view(1, 1, 1, 6)
    assert target_classes("depth", depth)[0].flatten().tolist() == [0, 0, 1, 39, 39, 255]
    normals = directions().T.reshape(1, 3, 1, 40)
    assert target_classes("normals", normals)[0].flatten().tolist() == list(range(40))
    torch.testing.assert_close(directions().norm(dim=1), torch.ones(40))


def test_padding_has_no_part_in_any_region() -> None:
    images = torch.randn(3, 3, 8, 8)
    images[0, 1, :, 4:] = 255  # as the authors pad
    images[1, :, :4] = 0  # as this harness does
    images[2] = 0
    padded = padding_of(images, torch.empty(3, 1, 4, 4)).view(3, 4, 4)
    assert padded[0].tolist() == [[False, False, True, True]] * 4
    assert padded[1].tolist() == [[True] * 4] * 2 + [[False] * 4] * 2
    logits = torch.randn(3, 2, 4, 4)
    before = logits.clone()
    spread = over_space(logits, padded.view(3, 1, 16))
    assert torch.equal(logits, before)
    assert (spread[padded.flatten(1)[:, None].expand_as(spread)] == 0).all()
    torch.testing.assert_close(spread.sum(2), torch.tensor([[1.0], [1.0], [0.0]]).expand(3, 2))


def test_pairs_of_nyud_have_what_was_searched_for_them() -> None:
    kinds = default_genotype(["semseg", "depth", "human_parts", "normals", "edge", "material"])
    assert [kinds["semseg"][source] for source in ("semseg", "depth", "normals", "edge")] == [3, 3, 4, 4]
    assert kinds["edge"]["normals"] == Kind.GLOBAL
    assert (kinds["human_parts"]["human_parts"], kinds["human_parts"]["edge"]) == (3, 4)
    assert kinds["semseg"]["material"] == Kind.GLOBAL


@pytest.mark.parametrize("text", ["3344", "33,33", "3342,3333,3333,3333", "33333,3333,3333,3333"])
def test_a_genotype_that_does_not_fit_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="must be 4 rows of 4 digits 0, 1, 3 or 4") as caught:
        build(genotype=text)
    assert "\n" not in str(caught.value)


def test_maps_are_enlarged_by_factors_first_where_sides_are_odd() -> None:
    """In steps of two and then to size; at multiples of 32 the encoder is that of the other methods."""
    torch.manual_seed(0)
    plain = HRNetEncoder("hrnet-micro").eval()
    stepped = HRNetEncoder("hrnet-micro").eval()
    stepped.load_state_dict(plain.state_dict())
    stepped.enlarge_by_factors()

    def both(size: tuple[int, int]) -> list[Tensor]:
        images = torch.randn(1, 3, *size)
        with torch.inference_mode():
            return [encoder(images) for encoder in (plain, stepped)]

    assert torch.equal(*both((64, 96)))
    one, other = both((53, 70))
    assert one.shape == other.shape
    assert not torch.allclose(one, other, atol=1e-5)


def test_a_checkpoint_of_the_authors_training_is_loaded(tmp_path: Path) -> None:
    """Lightning keeps weights under state_dict, with buffers of the losses among them."""
    donor = build()
    state = donor.state_dict() | {"criterion.normals.centroids": torch.zeros(40, 3)}
    around = {"epoch": 3, "global_step": 9, "pytorch-lightning_version": "1.1.8", "optimizer_states": [{"state": {}}]}
    torch.save({"state_dict": state, **around}, tmp_path / "c.ckpt")
    model, notes = load_published(method(), SMALL, WeightFile(tmp_path / "c.ckpt"))
    assert all(torch.equal(value, donor.state_dict()[key]) for key, value in model.state_dict().items())
    assert any("ignored, as no part of the network: criterion" in note for note in notes)
    with pytest.raises(UsageError, match="does not fit atrc on hrnet-micro for boundary"):
        load_published(method(), SMALL.only(["boundary", "depth"]), WeightFile(tmp_path / "c.ckpt"))


@pytest.mark.parametrize(("problem", "rate"), [(NYUD, 0.01), (SMALL, 0.005)])
def test_full_training_is_the_published_recipe(problem: Problem, rate: float) -> None:
    [stage] = method("hrnet18-small").stages(problem, "full")
    assert (stage.iterations, stage.batch_size, stage.schedule.power) == (40_000, 8, 0.9)
    assert (stage.optimizer.name, stage.optimizer.lr, stage.optimizer.weight_decay) == ("sgd", rate, 5e-4)
    assert stage.terms is coarse_losses
