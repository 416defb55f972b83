import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from segexp import checkpoint, synthesis
from segexp.config.compose import compose_config
from segexp.errors import InputError
from segexp.experiment.adapt import pseudo_labelled, pseudo_labels, unlabelled_images
from segexp.experiment.run import run
from segexp.experiment.start import Started
from segexp.inference.predictor import load_model
from segexp.io.ownership import digest
from tests.processes import command

TINY = ["task=cytoskeleton", "model=unet_fast", "task.crop=64", "data.synthetic.size=64", "data.synthetic.val=2"]
TINY += ["trainer.steps=2", "trainer.num_workers=0", "trainer.pictures=0", "output_dir=x"]
CLEAR = {"style": "network", "photons": 800.0, "background": 0.02, "haze": 0.02, "filaments": 300.0, "jpeg": 0.0}


def images(folder, count=2, size=96):
    folder.mkdir()
    for number, image in enumerate(synthesis.generate("cytoskeleton", count, size, 5, **CLEAR)[0]):
        tifffile.imwrite(folder / f"{number}.tif", image)
    (folder / "notes.txt").write_text("no image")
    return folder


def test_only_sure_pixels_are_labelled():
    one = np.array([[[0.95, 0.8, 0.79, 0.5, 0.21, 0.2, 0.0]]], np.float32)
    assert pseudo_labels(one).tolist() == [[1, 1, 255, 255, 255, 0, 0]]
    two = np.array([[[0.9, 0.05, 0.1, 0.5]], [[0.1, 0.9, 0.1, 0.45]]], np.float32)
    assert pseudo_labels(two).tolist() == [[1, 2, 0, 255]]
    assert pseudo_labels(one, sure=0.95).tolist() == [[1, 255, 255, 255, 255, 255, 0]]


def test_a_run_learns_from_images_without_masks_and_goes_on_after_a_stop(tmp_path, capsys):
    folder = images(tmp_path / "in")
    words = [*TINY, "experiment=adapt", "model.weights=cytoskeleton", f"data.unlabelled={folder}"]
    cfg = compose_config(words)
    assert cfg.trainer.validate_every == "1000"
    run(cfg, tmp_path / "run", weights=checkpoint.model_file(Path("cytoskeleton")))
    said = capsys.readouterr().out
    assert "unlabelled: 2 images, labelled by cytoskeleton; " in said
    assert "generated: 50 % of the crops" in said
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["data"]["unlabelled"] == str(folder)
    assert facts["data"]["train"] == 2
    first = checkpoint.load(tmp_path / "run" / "best_cytoskeleton_model.pth")["weights"]
    given = checkpoint.load("cytoskeleton")["weights"]
    assert any((first[name] != given[name]).any() for name in first if first[name].is_floating_point())
    longer = compose_config([*words, "trainer.steps=4"])
    run(longer, tmp_path / "run", resume=True)
    assert checkpoint.load(tmp_path / "run" / "last.pth")["state"]["step"] == 4


def test_the_labels_are_those_of_the_given_model_in_its_symmetries(tmp_path):
    folder = images(tmp_path / "in")
    cfg = compose_config([*TINY, "experiment=adapt", "model.weights=cytoskeleton", f"data.unlabelled={folder}"])
    path = checkpoint.model_file(Path("cytoskeleton"))
    facts = {"weights": "cytoskeleton", "file": str(path), "sha256": digest(path), "settings": {}}
    samples = pseudo_labelled(cfg, Started(facts), "cpu", lambda line: None)
    model = load_model("cytoskeleton", "cpu", tta=True)
    for sample, file in zip(samples, unlabelled_images(folder), strict=True):
        pixels, labels = sample.load()
        image = tifffile.imread(file)
        np.testing.assert_array_equal(pixels[0], image)
        np.testing.assert_array_equal(labels, pseudo_labels(model.probabilities(image[None])))
    assert {0, 1, 255} == {int(value) for sample in samples for value in np.unique(sample.load()[1])}
    with pytest.raises(InputError, match="missing or changed"):
        pseudo_labelled(cfg, Started(facts | {"sha256": "0" * 64}), "cpu", lambda line: None)


def test_images_in_which_nothing_is_found_are_refused(tmp_path):
    (tmp_path / "in").mkdir()
    noise = np.random.default_rng(0).poisson(100, (64, 64)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "in" / "a.tif", noise)
    cfg = compose_config(
        [*TINY, "experiment=adapt", "model.weights=cytoskeleton", f"data.unlabelled={tmp_path / 'in'}"]
    )
    with pytest.raises(InputError, match="cytoskeleton finds no foreground with certainty in any image"):
        run(cfg, tmp_path / "run", weights=checkpoint.model_file(Path("cytoskeleton")))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.unlabelled=IN"], "missing: model.weights, which labels the images of data.unlabelled"),
        (["experiment=adapt", "model.weights=cytoskeleton"], "needs images of your own"),
        (
            ["experiment=adapt", "model.weights=cytoskeleton", "data.unlabelled=IN", "trainer.keep_given=true"],
            "trainer.keep_given: not with data.unlabelled",
        ),
        (["experiment=adapt", "model.weights=cytoskeleton", "data.unlabelled=nowhere"], "no such folder"),
        (["experiment=adapt", "model.weights=cytoskeleton", "data.unlabelled=EMPTY"], "no images in it"),
    ],
)
def test_what_does_not_work_is_said_before_anything_is_written(tmp_path, words, message):
    images(tmp_path / "IN", 1)
    (tmp_path / "EMPTY").mkdir()
    ended = command("train", "task=cytoskeleton", "output_dir=out", *words, cwd=tmp_path)
    assert ended.returncode == 1
    assert message in " ".join(ended.stderr.split())
    assert not (tmp_path / "out").exists()


def test_pages_of_a_stack_are_images_of_their_own(tmp_path):
    folder = images(tmp_path / "in")
    stack = np.stack([tifffile.imread(folder / f"{number}.tif") for number in (0, 1)])
    tifffile.imwrite(folder / "stack.tif", stack, metadata={"axes": "ZYX"})
    (folder / "._0.tif").write_bytes(b"of the Finder")
    words = [*TINY, "experiment=adapt", "model.weights=cytoskeleton", f"data.unlabelled={folder}", "data.page=each"]
    path = checkpoint.model_file(Path("cytoskeleton"))
    facts = {"weights": "cytoskeleton", "file": str(path), "sha256": digest(path), "settings": {}}
    samples = pseudo_labelled(compose_config(words), Started(facts), "cpu", lambda line: None)
    assert [sample.name for sample in samples] == ["0.tif", "1.tif", "stack_0001.tif", "stack_0002.tif"]
    np.testing.assert_array_equal(samples[3].load()[0], samples[1].load()[0])


def test_another_number_of_channels_is_refused(tmp_path):
    words = [*TINY, "experiment=adapt", "model.weights=cytoskeleton", f"data.unlabelled={images(tmp_path / 'in')}"]
    path = checkpoint.model_file(Path("cytoskeleton"))
    facts = {"weights": "cytoskeleton", "file": str(path), "sha256": digest(path), "settings": {}}
    with pytest.raises(InputError, match=r"takes 1 channels, the run has data\.channels=3"):
        pseudo_labelled(compose_config([*words, "data.channels=3"]), Started(facts), "cpu", lambda line: None)
