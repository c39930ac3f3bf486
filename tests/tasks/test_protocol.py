"""Profiles, single options, and what a wrong name is answered."""

import pytest

from harness.errors import UsageError
from harness.problem import TaskSpec
from harness.protocol import PROFILES, Protocol
from harness.tasks import build_task


def test_the_default_is_invpt() -> None:
    assert Protocol.profile() == Protocol.profile("invpt") == Protocol()


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_survives_a_round_trip(name: str) -> None:
    protocol = Protocol.profile(name)
    assert Protocol.model_validate_json(protocol.model_dump_json()) == protocol


def test_an_option_goes_over_the_profile() -> None:
    protocol = Protocol.profile("mtinet", {"saliency_mode": "pooled"})
    assert protocol.saliency_mode == "pooled"
    assert protocol.normals_formula == "acos-uint8"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("invptt", {}, "did you mean invpt"),
        ("zzz", {}, "known: invpt, taskprompter"),
        ("invpt", {"salency_mode": "pooled"}, "did you mean saliency_mode"),
        ("invpt", {"depth_pool": "picture"}, "depth_pool: must be 'pixel' or 'image', not 'picture'"),
    ],
)
def test_a_wrong_name_is_answered_with_the_right_ones(name: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Protocol.profile(name, options)


def test_an_unknown_task_and_a_label_task_without_classes_are_refused() -> None:
    with pytest.raises(UsageError, match="known: semseg, parts"):
        build_task(TaskSpec("edges"))
    with pytest.raises(UsageError, match="num_classes"):
        build_task(TaskSpec("parts"))


def test_figures_are_named_after_their_convention() -> None:
    def ids(task: TaskSpec, protocol: Protocol) -> list[str]:
        return [figure.protocol for figure in build_task(task).meter(protocol).compute().values()]

    assert ids(TaskSpec("semseg", 40), Protocol())[0] == "semseg.miou@absent-zero"
    assert ids(TaskSpec("semseg", 40), Protocol.profile("share"))[0] == "semseg.miou@absent-nanmean"
    assert ids(TaskSpec("saliency"), Protocol()) == ["saliency.maxf@double-sigmoid", "saliency.maxf@pooled"]
    assert ids(TaskSpec("depth"), Protocol())[0] == "depth.rmse@pixel"
    assert ids(TaskSpec("depth"), Protocol.profile("astmt"))[0] == "depth.rmse@image,none"
    assert ids(TaskSpec("normals"), Protocol())[0] == "normals.merr@atan2"
