"""The baselines on HRNets as a user runs them."""

from pathlib import Path

import pytest
import timm
import torch

from harness.records import find_records


@pytest.mark.parametrize("method", ["mti-net", "pad-net"])
def test_they_train_on_the_encoder_of_the_budget_and_are_measured(method: str, harness, mini) -> None:
    result = harness("run", "-m", method, *mini, "--iterations", 1)
    assert (result.code, result.err) == (0, "")
    [record] = find_records(Path("out"))
    assert (record.status, record.method.backbone) == ("complete", "hrnet-micro")
    assert record.parameters is not None
    assert {"encoder", "head/semseg"} <= set(record.parameters.per_part)


def test_auxiliary_tasks_without_labels_are_refused_in_one_line(harness, mini) -> None:
    result = harness("run", "-m", "mti-net", "-t", "depth", "--set", "auxiliary=normals,boundary", *mini)
    assert result.code == 2
    assert "normals, boundary would be trained without labels" in result.err
    assert result.err.count("\n") == 1
    assert not list(find_records(Path("out"))), "nothing was started"


def test_an_unknown_auxiliary_task_is_refused(harness, mini) -> None:
    result = harness("run", "-m", "pad-net", "--set", "auxiliary=semseg", *mini)
    assert result.code == 2
    assert "--set auxiliary" in result.err
    assert "Traceback" not in result.err


def test_other_encoders_are_refused(harness, mini) -> None:
    result = harness("run", "-m", "mti-net", "-b", "vit-micro", *mini)
    assert result.code == 2
    assert "mti-net: runs on hrnet-micro, hrnet18-small, hrnet48, not on vit-micro" in result.err


@pytest.mark.parametrize("method", ["multi-task", "mti-net"])
def test_the_weights_of_the_large_hrnet_are_refused(method: str, harness, mini) -> None:
    torch.save(timm.create_model("hrnet_w18").state_dict(), "hrnet_w18.pth")
    result = harness("run", "-m", method, "-b", "hrnet18-small", "--init", "hrnet_w18.pth", *mini)
    assert result.code == 2
    assert "hrnet_w18.pth does not fit hrnet18-small: 966 unexpected (first: layer1.2." in result.err
    assert "Traceback" not in result.err
