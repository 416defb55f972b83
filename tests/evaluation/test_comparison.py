"""Runs compared: what pairs, the difference in words, and seeds taken together."""

import json

import numpy as np
import pytest
import yaml

from segexp.cli.compare import compare as command
from segexp.errors import InputError
from segexp.evaluation.comparison import candidates, compare, group_totals, read_run
from segexp.evaluation.tables import print_comparison, print_seeds

BASE = np.linspace(0.6, 0.9, 12)


def write_run(
    folder, dice, names=None, seed=None, truth="t", settings=None, hd95=None, fold=None, groups=None, **facts
):
    """A run folder with these scores image by image; `facts` are further entries of ``evaluation.json``."""
    (folder / "val").mkdir(parents=True)
    names = names or [f"{index}.tif" for index in range(len(dice))]
    lines = ["image,class,group,dice,hd95,surface_dice,tp"]
    for index, (name, value) in enumerate(zip(names, dice, strict=True)):
        group = "" if groups is None else groups[index]
        lines.append(f"{name},a,{group},{value},{'' if hd95 is None else hd95[index]},{value},5")
    (folder / "val" / "scores.csv").write_text("\n".join(lines) + "\n")
    images = [{"name": name, "truth": truth + name, "pixels": "p" + name} for name in names]
    (folder / "val" / "evaluation.json").write_text(json.dumps({"images": images, "monitor": "dice"} | facts))
    if seed is not None:
        (folder / ".hydra").mkdir()
        config = {
            "seed": seed,
            "data": {"root": "d", "fold": fold},
            "sweep": {"resume": str(folder)},
            "output_dir": str(folder),
            "trainer": settings or {"lr": 0.1},
        }
        (folder / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def result_of(*folders):
    first, *others = candidates([read_run(folder) for folder in folders])
    return [compare(first, other) for other in others]


def test_better_worse_and_noise(tmp_path):
    rng = np.random.default_rng(0)
    a = write_run(tmp_path / "a", BASE, hd95=10 - BASE)
    b = write_run(tmp_path / "b", BASE + 0.03 + rng.normal(0, 0.01, 12), hd95=9 - BASE)
    c = write_run(tmp_path / "c", BASE + rng.normal(0, 0.02, 12), hd95=10 - BASE)
    better, noise = result_of(a, b, c)
    assert better["scores"]["dice"]["verdict"] == "better"
    assert better["scores"]["dice"]["difference"] == pytest.approx(0.03, abs=0.01)
    assert better["scores"]["hd95"]["verdict"] == "better"  # lower by 1
    assert better["scores"]["hd95"]["difference"] == pytest.approx(-1)
    assert noise["scores"]["dice"]["verdict"] == noise["scores"]["hd95"]["verdict"] == "within noise"
    (worse,) = result_of(b, a)
    assert worse["scores"]["dice"]["verdict"] == "worse"
    assert worse["images"] == 12
    assert any("trainer.seeds" in note for note in worse["notes"])


def test_what_does_not_pair_is_said(tmp_path):
    names = [f"{index}.tif" for index in range(12)]
    a = write_run(tmp_path / "a", BASE, names)
    b = write_run(tmp_path / "b", BASE[:8], names[4:])
    (result,) = result_of(a, b)
    assert result["images"] == 8
    assert "0.tif, 1.tif, 2.tif and 1 more" in " ".join(result["unpaired"])
    # paired by name and not by place
    assert result["scores"]["dice"]["baseline"] == pytest.approx(BASE[4:].mean())
    assert result["scores"]["dice"]["other"] == pytest.approx(BASE[:8].mean())
    other = write_run(tmp_path / "c", BASE, names, truth="u")
    with pytest.raises(InputError, match="a different mask"):
        result_of(a, other)


def test_few_images_are_noise_however_large_the_difference(tmp_path):
    a, b = write_run(tmp_path / "a", [0.1] * 5), write_run(tmp_path / "b", [0.9, 0.8, 0.9, 0.8, 0.9])
    (result,) = result_of(a, b)
    assert result["scores"]["dice"]["verdict"] == "within noise"
    assert any("at least 6" in note for note in result["notes"])


def test_seeds_are_taken_together_and_their_luck_counts(tmp_path, capsys):
    """Each seed shifts all images alike: over images the difference is clear, over seeds it is not."""
    folders = [write_run(tmp_path / f"a{s}", BASE + 0.05 * s, seed=s) for s in range(3)]
    folders += [write_run(tmp_path / f"b{s}", BASE + 0.05 * s + 0.01, seed=s, settings={"lr": 1}) for s in range(3)]
    found = candidates([read_run(folder) for folder in folders])
    assert [len(candidate.runs) for candidate in found] == [3, 3]
    assert found[0].spread("dice") == pytest.approx(0.05)
    result = compare(*found)
    dice = result["scores"]["dice"]
    assert dice["difference"] == pytest.approx(0.01)
    assert dice["p"] < 0.001
    assert dice["seed_error"] == pytest.approx(0.05 * np.sqrt(2 / 3))
    assert dice["verdict"] == "within noise"
    steady = [write_run(tmp_path / f"c{s}", BASE + 0.001 * s + 0.2, seed=s, settings={"lr": 2}) for s in range(3)]
    steadier = [write_run(tmp_path / f"d{s}", BASE + 0.001 * s, seed=s, settings={"lr": 3}) for s in range(3)]
    assert result_of(*steadier, *steady)[0]["scores"]["dice"]["verdict"] == "better"
    print_seeds(found[0])
    print_comparison(result)
    out = capsys.readouterr().out
    assert f"seeds 0, 1, 2: Dice {BASE.mean() + 0.05:.4f} ± 0.0500" in out
    assert "Dice +0.0100 (+0.0100 to +0.0100, p = 0.00049): within noise" in out


def test_a_difference_over_few_seeds_must_exceed_its_interval(tmp_path):
    """Two and a half standard errors are too few: with three seeds each, Welch's t has 4 degrees of freedom."""
    luck = np.array([-0.02, 0, 0.02])
    error = 0.02 * np.sqrt(2 / 3)
    for times, verdict in ((2.5, "within noise"), (3.5, "better")):
        folders = [write_run(tmp_path / f"a{times}{s}", BASE + luck[s], seed=s) for s in range(3)]
        shifted = BASE + times * error
        folders += [
            write_run(tmp_path / f"b{times}{s}", shifted + luck[s], seed=s, settings={"lr": 1}) for s in range(3)
        ]
        (result,) = result_of(*folders)
        assert result["scores"]["dice"]["seed_error"] == pytest.approx(error)
        assert result["scores"]["dice"]["verdict"] == verdict


def test_slices_of_one_stack_count_as_one(tmp_path):
    """Twelve slices of three stacks, each stack a little better: as single images that would be a clear difference."""
    gain = np.repeat([0.01, 0.02, 0.03], 4)
    stacks = np.repeat(["s1", "s2", "s3"], 4)
    alone = result_of(write_run(tmp_path / "a", BASE), write_run(tmp_path / "b", BASE + gain))[0]
    assert alone["scores"]["dice"]["verdict"] == "better"
    first = write_run(tmp_path / "c", BASE, groups=stacks)
    (result,) = result_of(first, write_run(tmp_path / "d", BASE + gain, groups=stacks))
    dice = result["scores"]["dice"]
    assert dice["difference"] == pytest.approx(0.02)
    assert dice["p"] == pytest.approx(0.25)  # 2 of the 8 ways to exchange three stacks
    assert dice["verdict"] == "within noise"
    assert "interval and p are over 3 groups of images (data.group)" in result["notes"]
    assert any(note.startswith("3 groups of images are too few") for note in result["notes"])


def test_the_mean_over_groups_of_other_sizes_is_that_of_the_images():
    values = np.array([1.0, 2.0, 3.0, 10.0])
    totals = group_totals(values, ["a", "a", "a", "b"])
    np.testing.assert_allclose(totals, [3.0, 5.0])
    assert totals.mean() == values.mean()
    np.testing.assert_array_equal(group_totals(values, ["d", "c", "b", "a"]), values)


def test_other_units_and_tolerances_are_not_compared(tmp_path):
    px = {"unit": "px", "tolerance": {"value": 2.0, "unit": "px"}}
    first = write_run(tmp_path / "a", BASE, hd95=10 - BASE, **px)
    (same,) = result_of(first, write_run(tmp_path / "b", BASE, hd95=(10 - BASE) / 2, **px))
    assert same["scores"]["hd95"]["verdict"] == "better"
    assert "surface_dice" in same["scores"]
    (units,) = result_of(first, write_run(tmp_path / "c", BASE, hd95=(10 - BASE) / 10, **px | {"unit": "µm"}))
    assert "hd95" not in units["scores"]
    assert "surface_dice" in units["scores"]
    assert units["notes"][0].startswith(
        "lengths are in px and µm, so these are not compared: HD95; segexp evaluate --pi"
    )
    wide = px | {"tolerance": {"value": 5.0, "unit": "px"}}
    (reach,) = result_of(first, write_run(tmp_path / "d", BASE, hd95=10 - BASE, **wide))
    assert "surface_dice" not in reach["scores"]
    assert "hd95" in reach["scores"]
    assert reach["notes"][0].startswith("the tolerances are 2 px and 5 px, so these are not compared: surface Dice;")


def test_without_a_common_image_the_division_by_seed_is_named(tmp_path):
    names = [[f"{seed}{index}.tif" for index in range(6)] for seed in range(2)]
    folders = [write_run(tmp_path / f"a{s}", BASE[:6], names[s], seed=s) for s in range(2)]
    folders += [write_run(tmp_path / f"b{s}", BASE[:6], names[s], seed=s, settings={"lr": 1}) for s in range(2)]
    with pytest.raises(InputError, match=r"no image in common; .*; each seed divides .* data\.split_seed=0"):
        result_of(*folders)


def test_without_a_common_score_there_is_an_error(tmp_path):
    first, second = write_run(tmp_path / "a", BASE), write_run(tmp_path / "b", np.full(12, np.nan))
    with pytest.raises(InputError, match="no score in common"):
        result_of(first, second)


def fold_runs(folder, dice, folds=3, seeds=1, **more):
    """One setting on all folds: fold k validates every third image from the k-th on."""
    found = []
    for seed in range(seeds):
        for fold in range(folds):
            names = [f"{index}.tif" for index in range(fold, len(dice), folds)]
            place = folder / f"{seed}{fold}"
            found.append(write_run(place, dice[fold::folds], names, seed, fold=f"{fold + 1}/{folds}", **more))
    return found


def test_the_folds_of_a_setting_validate_every_image_once(tmp_path):
    rng = np.random.default_rng(0)
    shifted = BASE + 0.03 + rng.normal(0, 0.01, 12)
    first = fold_runs(tmp_path / "a", BASE)
    second = fold_runs(tmp_path / "b", shifted, settings={"lr": 1})
    found = candidates([read_run(folder) for folder in [*first, *second]])
    assert [len(candidate.runs) for candidate in found] == [3, 3]
    assert found[0].means("dice") == pytest.approx([BASE.mean()])
    assert found[0].spread("dice") is None
    result = compare(*found)
    assert (result["images"], result["unpaired"]) == (12, [])
    assert result["scores"]["dice"]["difference"] == pytest.approx((shifted - BASE).mean())
    assert result["scores"]["dice"]["verdict"] == "better"
    assert any("one seed each" in note for note in result["notes"])


def test_a_lost_fold_leaves_its_images_out(tmp_path):
    first, second = fold_runs(tmp_path / "a", BASE), fold_runs(tmp_path / "b", BASE + 0.1, settings={"lr": 1})
    (result,) = result_of(*first, *second[1:])
    assert result["images"] == 8
    assert "0.tif, 3.tif, 6.tif and 1 more" in " ".join(result["unpaired"])
    assert result["scores"]["dice"]["baseline"] == pytest.approx(np.delete(BASE, [0, 3, 6, 9]).mean())


def test_seeds_of_folds_are_averaged_image_by_image(tmp_path):
    (candidate,) = candidates([read_run(folder) for folder in fold_runs(tmp_path, BASE, seeds=2)])
    assert candidate.means("dice") == pytest.approx([BASE.mean()] * 2)
    assert candidate.spread("dice") == pytest.approx(0)
    assert candidate.values("dice") == pytest.approx({f"{index}.tif": value for index, value in enumerate(BASE)})


def test_a_run_repeated_with_its_seed_is_another_candidate(tmp_path, capsys):
    """After corrected annotations, say: the same command, the same seed, another result."""
    before = [write_run(tmp_path / f"a{seed}", BASE, seed=seed) for seed in range(2)]
    after = [write_run(tmp_path / f"b{seed}", BASE + 0.1, seed=seed) for seed in range(2)]
    found = candidates([read_run(folder) for folder in [*before, *after]])
    assert [[run.folder.name for run in candidate.runs] for candidate in found] == [["a0", "a1"], ["b0", "b1"]]
    assert compare(*found)["scores"]["dice"]["difference"] == pytest.approx(0.1)
    with pytest.raises(InputError, match="differ only in their seed"):
        command(before)
    command([before[0], after[0]], tmp_path / "out.json")
    assert len(json.loads((tmp_path / "out.json").read_text())["comparisons"]) == 1


def test_runs_of_unknown_settings_stand_alone(tmp_path):
    runs = [read_run(write_run(tmp_path / name, BASE)) for name in "ab"]
    assert len(candidates(runs)) == 2


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "val" / "scores.csv").unlink(), "neither val/scores.csv"),
        (lambda folder: (folder / "val" / "evaluation.json").write_text("{"), "score it again"),
        (lambda folder: (folder / "val" / "evaluation.json").write_text("{}"), "score it again"),
        (
            lambda folder: (folder / "val" / "scores.csv").write_text("image,class,group,dice\nz.tif,a,,1\n"),
            "different",
        ),
    ],
)
def test_folders_without_scores(tmp_path, spoil, words):
    folder = write_run(tmp_path / "a", BASE)
    spoil(folder)
    with pytest.raises(InputError, match=words):
        read_run(folder)
