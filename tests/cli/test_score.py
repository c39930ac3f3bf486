"""``harness score`` and ``harness run --save-predictions`` as a user runs them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from harness.data.card import SubsetCard, id_list_md5
from harness.datasets.pascal_context import PascalContext
from harness.protocol import Protocol
from harness.records import Record, find_records, read_record
from harness.report.table import build_table


def read(path: Path) -> np.ndarray:
    return np.load(path) if path.suffix == ".npy" else np.array(Image.open(path))


def measured(folder: str) -> Record:
    [record] = find_records(Path(folder))
    return record


def complaints(err: str) -> list[str]:
    """Return the lines about files; after three steps normals are worse than their mean or another's, which is said."""
    return [line for line in err.splitlines() if not line.startswith("harness: warning: normals: ")]


@pytest.fixture
def saved(harness, golden: Path):
    """Return a function that saves a run's predictions in ``p`` and returns its record and the data options."""

    def run(dataset: str, *options: object) -> tuple[Record, tuple[object, ...]]:
        root = golden / {"nyud": "mini_NYUDv2", "pascal-context": "mini_PASCALContext"}[dataset]
        data = ("-d", dataset, "--data-root", root)
        result = harness(
            *("run", "-m", "multi-task", *data, "--iterations", 3, "--batch-size", 1, "--init", "random"),
            *("--probe", "none", "-o", "run", "--save-predictions", "p", *options),
        )
        assert result.code == 0, result.err
        return measured("run"), (*data, "-o", "scored", *options)

    return run


@pytest.mark.parametrize("profile", ["invpt", "share", "mtinet", "astmt", "atrc"])
def test_saved_predictions_score_as_the_run_did(harness, saved, profile: str) -> None:
    record, data = saved("nyud", "--protocol", profile)
    result = harness("score", "p", *data)
    assert result.code == 0, result.err
    assert complaints(result.err) == []
    scored = measured("scored")
    assert scored.metrics == record.metrics, "to the last bit, image by image as in the run"
    assert scored.protocol == record.protocol


def test_on_pascal_context_only_saliency_differs_by_its_8_bits(harness, saved) -> None:
    record, data = saved("pascal-context")
    assert harness("score", "p", *data).code == 0
    scored = measured("scored").metrics
    for task in ("semseg", "parts", "normals", "boundary"):
        assert scored[task] == record.metrics[task]
    for name, figure in record.metrics["saliency"].items():
        assert scored["saliency"][name].value == pytest.approx(figure.value, abs=0.02)


def test_where_the_protocol_cuts_saliency_to_8_bits_it_is_exact(harness, saved) -> None:
    record, data = saved("pascal-context", "--protocol", "mtinet")
    assert harness("score", "p", *data).code == 0
    scored = measured("scored").metrics["saliency"]
    assert (scored["maxf"], scored["miou"]) == (record.metrics["saliency"]["maxf"], record.metrics["saliency"]["miou"])


def test_larger_batches_change_sums_in_the_last_bits_only(harness, saved) -> None:
    record, data = saved("nyud", "--batch-size", 8)
    assert harness("score", "p", *data[:-2]).code == 0
    for task, figures in measured("scored").metrics.items():
        for name, figure in figures.items():
            assert figure.value == pytest.approx(record.metrics[task][name].value, rel=1e-12)


def test_files_have_the_size_of_the_images_and_are_complete(saved, golden: Path) -> None:
    saved("nyud")
    for image_id in ("0002", "0009"):
        size = read(golden / "mini_NYUDv2" / "images" / f"{image_id}.png").shape[:2]
        maps = [read(path) for path in sorted(Path("p").glob(f"*/{image_id}.*"))]
        assert [(array.shape, array.dtype.name) for array in maps] == [
            (size, "uint8"),
            (size, "float32"),
            ((*size, 3), "float32"),
            (size, "uint8"),
        ]
    assert not list(Path("p").rglob(".*")), "no temporary file is left"


def test_the_record_says_where_its_figures_are_from(harness, saved) -> None:
    _, data = saved("nyud")
    result = harness("score", "p", *data, "--name", "their network")
    assert result.code == 0
    assert "their network" in result.out
    assert "predictions made elsewhere" in result.out
    record = measured("scored")
    assert (record.source, record.method.init, record.method.name) == ("measured", "predictions", "their network")
    assert record.method.checkpoint is not None
    assert record.method.checkpoint.startswith("p sha256:")
    assert (record.method.backbone, record.budget, record.seed, record.precision) == (None, None, None, None)
    assert (record.parameters, record.storage) == (None, None)
    assert record.delta_m is not None
    assert record.delta_m.value is None
    assert record.delta_m.reason
    assert read_record(Path("scored") / record.run_id) == record


def test_a_broken_and_a_missing_file_are_named_and_the_rest_is_scored(harness, saved) -> None:
    record, data = saved("nyud")
    (Path("p") / "depth" / "0009.npy").unlink()
    broken = Path("p") / "semseg" / "0002.png"
    broken.write_bytes(broken.read_bytes()[:50])
    result = harness("score", "p", *data)
    assert result.code == 3
    lines = complaints(result.err)
    assert len(lines) == 2
    assert "missing: p/depth/0009.npy" in lines[0]
    assert "broken: p/semseg/0002.png" in lines[1]
    assert "archive" not in result.err
    scored = measured("scored")
    assert scored.metrics["normals"] == record.metrics["normals"]
    assert scored.metrics["boundary"] == record.metrics["boundary"]
    assert 0 < scored.metrics["depth"]["rmse"].n < record.metrics["depth"]["rmse"].n
    assert 0 < scored.metrics["semseg"]["miou"].n < record.metrics["semseg"]["miou"].n
    assert scored.dataset.n_evaluated == 0, "each of the two images misses something"
    told = [warning.split(":")[0] for warning in scored.warnings if "mean normal" not in warning]
    assert told == ["val", "semseg", "depth"]
    assert all(warning in " ".join(result.out.split()) for warning in scored.warnings)


def test_surplus_files_are_named_and_do_no_harm(harness, saved) -> None:
    record, data = saved("nyud")
    shutil.copy("p/depth/0002.npy", "p/depth/0003.npy")
    Path("p/flow").mkdir()
    result = harness("score", "p", *data)
    assert result.code == 0
    assert "surplus: p/depth/0003.npy" in result.err
    assert "surplus: p/flow" in result.err
    assert measured("scored").metrics == record.metrics


def test_one_task_alone_is_scored(harness, saved) -> None:
    record, data = saved("nyud")
    for task in ("semseg", "normals", "boundary"):
        shutil.rmtree(Path("p") / task)
    assert harness("score", "p", *data).code == 0
    assert measured("scored").metrics == {"depth": record.metrics["depth"]}


def test_images_that_are_not_scored_need_no_prediction(harness, saved, golden: Path) -> None:
    record, data = saved("pascal-context")
    # MTI-Net writes no file for an image whose label is ignored as a whole, here one without people.
    reader = PascalContext().reader(golden / "mini_PASCALContext", "val")
    empty = [image_id for image_id in reader.ids if not reader.label(image_id, "parts").any()]
    assert empty
    for image_id in empty:
        (Path("p") / "parts" / f"{image_id}.png").unlink()
    result = harness("score", "p", *data)
    assert result.code == 0, result.err
    assert measured("scored").metrics["parts"] == record.metrics["parts"]


def test_the_files_of_other_code_bases_give_the_same_figures(harness, saved) -> None:
    record, data = saved("pascal-context")
    theirs = Path("theirs")
    for task, name in {"semseg": "semseg", "parts": "human_parts", "saliency": "sal", "boundary": "edge"}.items():
        shutil.copytree(Path("p") / task, theirs / name)
    (theirs / "normals").mkdir()
    for path in Path("p/normals").glob("*.npy"):
        vectors = np.load(path)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=2, keepdims=True), 1e-12)
        Image.fromarray(((vectors + 1) * 255 / 2).astype(np.uint8)).save(theirs / "normals" / f"{path.stem}.png")
    result = harness("score", theirs, *data)
    assert result.code == 0, result.err
    scored = measured("scored").metrics
    for task in ("semseg", "parts", "boundary"):
        assert scored[task] == record.metrics[task]
    error = record.metrics["normals"]["merr"].value
    assert scored["normals"]["merr"].value == pytest.approx(error, abs=0.5), "8 bits are good for half a degree"
    assert scored["normals"]["merr"].value != error


@pytest.mark.parametrize("form", ["mat", "png16"])
def test_depth_is_read_from_mat_and_16_bit_png(harness, saved, form: str) -> None:
    record, data = saved("nyud")
    theirs = Path("theirs/depth")
    theirs.mkdir(parents=True)
    for path in Path("p/depth").glob("*.npy"):
        depth = np.load(path)
        if form == "mat":
            scipy.io.savemat(theirs / f"{path.stem}.mat", {"depth": depth})
        else:
            millimetres = np.rint(depth.clip(0) * 1000).astype(np.uint16)
            Image.fromarray(millimetres).save(theirs / f"{path.stem}.png")
    assert harness("score", "theirs", *data).code == 0
    expected, found = record.metrics["depth"]["rmse"], measured("scored").metrics["depth"]["rmse"]
    assert found.n == expected.n
    assert found.value == (expected.value if form == "mat" else pytest.approx(expected.value, abs=0.0006))


def test_padded_and_enlarged_predictions_are_laid_on_their_images(harness, saved) -> None:
    record, data = saved("nyud")
    height, width = record.input_size
    for path in Path("p/boundary").glob("*.png"):  # as large as the network's input
        map_ = read(path)
        top, left = (height - map_.shape[0]) // 2, (width - map_.shape[1]) // 2
        rest = (top, height - map_.shape[0] - top), (left, width - map_.shape[1] - left)
        Image.fromarray(np.pad(map_, rest, constant_values=200)).save(path)
    for path in Path("p/semseg").glob("*.png"):  # three times as large as the image
        Image.fromarray(read(path).repeat(3, axis=0).repeat(3, axis=1)).save(path)
    assert harness("score", "p", *data).code == 0
    scored = measured("scored")
    assert scored.metrics == record.metrics
    assert scored.warnings[1] == "semseg: 2 predictions were resized to their images"


def test_a_limit_leaves_the_other_files_alone(harness, saved) -> None:
    record, data = saved("nyud")
    result = harness("score", "p", *data, "--limit", 1)
    assert (result.code, complaints(result.err)) == (0, [])
    scored = measured("scored")
    assert (scored.dataset.n_evaluated, scored.dataset.n_expected) == (1, 654)
    assert scored.metrics["depth"]["rmse"].n < record.metrics["depth"]["rmse"].n


def test_a_place_that_cannot_be_written_is_refused_before_anything_runs(harness, mini) -> None:
    Path("taken").touch()
    result = harness("run", "-m", "multi-task", *mini, "--save-predictions", "taken")
    assert result.code == 2
    assert "--save-predictions taken" in result.err
    assert not Path("out").exists()


def test_41_classes_are_trained_saved_and_scored(harness, saved) -> None:
    record, data = saved("nyud", "--protocol-set", "nyud_classes=41")
    assert harness("score", "p", *data).code == 0
    scored = measured("scored")
    assert scored.metrics == record.metrics
    assert scored.protocol["nyud_classes"] == 41
    fingerprint = record.dataset.fingerprint
    result = harness("run", "-m", "multi-task", *data[:4], "--iterations", 1, "--probe", "none", "-o", "forty")
    assert result.code == 0
    forty = measured("forty")
    assert forty.dataset.fingerprint != fingerprint
    # The unlabelled pixels are the background's now.
    assert record.metrics["semseg"]["miou"].n > forty.metrics["semseg"]["miou"].n


def test_a_complete_run_saves_its_predictions_afterwards(harness, saved, mini) -> None:
    record, data = saved("nyud")
    short = ("--iterations", 3, "--batch-size", 1, "--probe", "none", "--init", "random")
    again = ("run", "-m", "multi-task", *data[:4], *short, "-o", "run")
    assert harness(*again, "--save-predictions", "later").code == 0
    assert measured("run") == record
    files = sorted(path.relative_to("p") for path in Path("p").rglob("*.*"))
    assert files
    assert [path.relative_to("later") for path in sorted(Path("later").rglob("*.*"))] == files
    assert all((Path("p") / file).read_bytes() == (Path("later") / file).read_bytes() for file in files)


def test_a_matrix_saves_every_run_in_a_folder_of_its_own(harness, mini) -> None:
    result = harness("run", "-m", "multi-task", "--seed", 0, "--seed", 1, "--save-predictions", "p", *mini)
    assert result.code == 0, result.err
    for record in find_records(Path("out")):
        assert len(list((Path("p") / record.run_id / "depth").iterdir())) == record.dataset.n_evaluated


def test_wrong_folders_and_options_are_exit_code_2(harness, mini, golden: Path) -> None:
    data = ("-d", "nyud", "--data-root", golden / "mini_NYUDv2")
    for folder in ("empty", "twice/edge", "twice/boundary", "fine/depth"):
        Path(folder).mkdir(parents=True)
    for arguments, message in (
        (("absent", *data), "no such folder"),
        (("empty", *data), "boundary|edge/"),
        (("twice", *data), "both hold boundary"),
        (("fine", "-d", "nyu"), "did you mean nyud"),
        (("fine", *data, "--protocol", "invptt"), "did you mean invpt"),
        (("fine", *data, "--input-size", "big"), "input_size"),
    ):
        result = harness("score", *arguments)
        assert result.code == 2, arguments
        assert message in result.err
        assert len(result.err.strip().splitlines()) == 1
    nothing = harness("score", "fine", *data)
    assert nothing.code == 3
    assert "nothing can be scored" in nothing.err
    assert not Path("results").exists()


def test_the_half_for_boundaries_is_scored_alike_by_runs_and_from_files(harness, golden: Path, monkeypatch) -> None:
    root = Path(shutil.copytree(golden / "mini_PASCALContext", "PASCALContext"))
    outside, *ids = PascalContext().reader(root, "val").ids
    half = SubsetCard(folder="ImageSets", count=len(ids), md5=id_list_md5(ids))
    card = PascalContext().card.model_copy(update={"boundary_subset": half, "splits": None})
    monkeypatch.setattr(PascalContext, "card", card)
    (root / "ImageSets" / "test_new.txt").write_text("\n".join(ids))
    data = ("-d", "pascal-context", "--data-root", root)
    short = ("--iterations", 1, "--batch-size", 1, "--probe", "none")
    result = harness("run", "-m", "multi-task", *data, *short, "-o", "run", "--save-predictions", "p")
    assert result.code == 0, result.err
    record = measured("run")
    assert record.protocol["boundary_set"] == "test-new"
    assert record.metrics["boundary"]["odsf"].n == len(ids)
    assert "test-new" in record.metrics["boundary"]["odsf"].protocol
    assert [warning for warning in record.warnings if "training ids" not in warning] == []
    (Path("p") / "boundary" / f"{outside}.png").unlink()
    assert harness("score", "p", *data, "-o", "scored").code == 0
    assert measured("scored").metrics["boundary"] == record.metrics["boundary"]


def test_records_of_two_protocols_never_share_a_table(harness, mini) -> None:
    for profile in ("invpt", "atrc"):
        result = harness("run", "-m", "multi-task", *mini, "--protocol", profile)
        assert result.code == 0
        assert f"protocol {profile}" in " ".join(result.out.split())
    records = list(find_records(Path("out")))
    assert len({record.run_id for record in records}) == 2
    with pytest.raises(ValueError, match="protocol"):
        build_table(records)


def test_a_single_convention_is_enough_to_keep_records_apart(harness, mini) -> None:
    assert harness("run", "-m", "multi-task", *mini, "-t", "depth").code == 0
    record = measured("out")
    build_table([record, record])
    for option in Protocol.model_fields:
        other = record.model_copy(update={"protocol": record.protocol | {option: "another"}})
        with pytest.raises(ValueError, match="protocol"):
            build_table([record, other])


def test_implausible_values_are_said_on_stderr_and_scored_as_they_are(harness, saved) -> None:
    _, data = saved("nyud")
    for path in (Path("p") / "depth").iterdir():
        np.save(path, np.load(path) * 0 + 2500)
    result = harness("score", "p", *data)
    assert result.code == 0
    assert "harness: warning: depth: predictions reach 2500 m" in result.err
    assert "millimetres, divide by 1000" in " ".join(result.out.split())
    rmse = measured("scored").metrics["depth"]["rmse"].value
    assert rmse is not None
    assert rmse > 1000, "nothing is rescaled"
