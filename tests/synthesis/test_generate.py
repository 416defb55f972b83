from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segexp import synthesis
from segexp.synthesis import cells, filaments, layout, optics, pixels, truth, untraced, vesicles


@pytest.mark.parametrize("task", synthesis.TASKS)
def test_images_are_uint16_and_masks_are_zero_or_one(task):
    images, masks = synthesis.generate(task, count=4, size=(96, 130), seed=3)
    assert images.shape == masks.shape == (4, 96, 130)
    assert images.dtype == np.uint16
    assert masks.dtype == np.uint8
    assert set(np.unique(masks)) == {0, 1}


@pytest.mark.parametrize("task", synthesis.TASKS)
def test_an_image_depends_on_its_number_alone(task):
    images, masks = synthesis.generate(task, count=10, size=(97, 115), seed=5)
    for i in (0, 3, 9):
        image, mask = synthesis.generate(task, count=1, size=(97, 115), seed=5, first=i)
        np.testing.assert_array_equal(image[0], images[i])
        np.testing.assert_array_equal(mask[0], masks[i])


@pytest.mark.parametrize("task", synthesis.TASKS)
def test_rendered_tensors_are_the_images_of_their_numbers(task):
    images, masks = synthesis.generate(task, count=6, size=(70, 81), seed=4, first=10)
    numbers = [15, 10, 10, 12]
    for threads in (None, 1, 3):
        rendered, covered = synthesis.render(task, numbers, (70, 81), seed=4, threads=threads)
        assert (rendered.dtype, covered.dtype) == (torch.uint16, torch.uint8)
        for k, number in enumerate(numbers):
            np.testing.assert_array_equal(rendered[k].numpy(), images[number - 10])
            np.testing.assert_array_equal(covered[k].numpy(), masks[number - 10])


def test_rendering_takes_ranges_and_refuses_what_it_cannot_draw():
    rendered, _ = synthesis.render("vesicle", [0, 1], 48, seed=0, style="cells", bits=8, stretch=0)
    assert int(rendered.to(torch.int32).max()) <= 255
    assert synthesis.render("vesicle", [], 48, seed=0)[0].shape == (0, 48, 48)
    for change, message in (
        ({"numbers": [-1]}, "numbers.*-1"),
        ({"threads": 0}, "threads.*0"),
        ({"radios": 1}, "radios"),
    ):
        with pytest.raises(ValueError, match=message):
            synthesis.render(**({"task": "vesicle", "numbers": [0], "size": 48, "seed": 0} | change))


@pytest.mark.parametrize("task", synthesis.TASKS)
def test_seeds_and_numbers_give_different_images(task):
    images, _ = synthesis.generate(task, count=2, size=64, seed=0)
    others, _ = synthesis.generate(task, count=1, size=64, seed=1)
    assert (images[0] != images[1]).any()
    assert (images[0] != others[0]).any()


@pytest.mark.parametrize("task", synthesis.TASKS)
def test_a_batch_renders_as_its_images_one_by_one(task):
    table, styles = synthesis.tables(task)
    del table
    layouts = [layout.layout(task, (80, 90), 7, i, list(styles), {}) for i in range(6)]
    together, _, labels, _ = pixels.compute(task, layouts, (80, 90), torch.device("cpu"))
    for i, one in enumerate(layouts):
        alone, _, label, _ = pixels.compute(task, [one], (80, 90), torch.device("cpu"))
        full = 65535 if one.parameters["stretch"] else 2 ** one.parameters["bits"] - 1
        level = 65535 // (2 ** one.parameters["bits"] - 1) + 1 if one.parameters["stretch"] else 1
        assert int(alone.max()) <= full
        assert int((alone[0] - together[i]).abs().max()) <= level
        assert float((label[0] != labels[i]).float().mean()) < 1e-3


@pytest.mark.parametrize("task", synthesis.TASKS)
def test_scenes_are_the_images_of_generate(task):
    images, masks = synthesis.generate(task, count=3, size=72, seed=2)
    for i, one in enumerate(synthesis.generate_scenes(task, count=3, size=72, seed=2)):
        np.testing.assert_array_equal(one.image, images[i])
        np.testing.assert_array_equal(one.mask, masks[i])
        np.testing.assert_array_equal(one.mask, one.labels > 0)
        assert one.labels.max() <= len(one.objects)
        assert one.style in synthesis.tables(task)[1]


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(synthesis.TASKS),
    st.integers(16, 90),
    st.integers(16, 90),
    st.integers(0, 2**40),
    st.integers(0, 2**20),
)
def test_any_size_and_seed_gives_an_image(task, height, width, seed, first):
    images, masks = synthesis.generate(task, count=1, size=(height, width), seed=seed, first=first)
    assert images.shape == masks.shape == (1, height, width)
    assert masks.max() <= 1


def test_intensities_span_the_16_bits():
    images, _ = synthesis.generate("vesicle", count=60, size=64, seed=0)
    medians = np.median(images, axis=(1, 2))
    assert medians.min() < 60
    assert medians.max() > 15000
    assert (images.max((1, 2)) < 300).any()
    assert ((images == 65535).mean((1, 2)) > 0.005).any()


def test_narrowing_one_row_leaves_the_others():
    usual = layout.layout("vesicle", (64, 64), 0, 0, ["any"], {})
    narrowed = layout.layout("vesicle", (64, 64), 0, 0, ["any"], {"photons": (10.0, 20.0)})
    assert 10 <= narrowed.parameters.pop("photons") <= 20
    usual.parameters.pop("photons")
    assert narrowed.parameters == usual.parameters


def test_a_chance_is_yes_or_no_as_often_as_it_says():
    drawn = [layout.layout("vesicle", (32, 32), 0, i, ["any"], {"coverage": 0.0}).parameters for i in range(200)]
    assert {p["jpeg"] for p in drawn} == {0.0, 1.0}
    assert 8 <= sum(p["jpeg"] for p in drawn) <= 36  # 20 expected
    assert sum(p["dark"] for p in drawn) == 0
    always = [layout.layout("vesicle", (32, 32), 0, i, ["any"], {"jpeg": 1.0}).parameters["jpeg"] for i in range(20)]
    assert always == [1.0] * 20


def test_stages_draw_from_streams_of_their_own():
    """A row that changes how many objects are drawn leaves the cells and the background of an image as they were."""
    few, many = (layout.layout("vesicle", (64, 64), 3, 1, ["any"], {"coverage": c}) for c in (0.01, 0.3))
    np.testing.assert_array_equal(few.cells.outline, many.cells.outline)
    np.testing.assert_array_equal(few.knots[0], many.knots[0])
    assert few.key == many.key
    other = layout.layout("vesicle", (64, 64), 3, 2, ["any"], {"coverage": 0.01})
    assert other.key != few.key


@pytest.mark.parametrize(("task", "style"), [(t, s) for t in synthesis.TASKS for s in synthesis.tables(t)[1]])
def test_every_style_draws_objects_that_can_be_seen(task, style):
    scenes = list(synthesis.generate_scenes(task, 6, 200, 2, style=style))
    assert {one.style for one in scenes} == {style}
    assert sum(bool(one.mask.any()) for one in scenes) >= 4
    assert sum(one.image.std() > 0 for one in scenes) == 6


@pytest.mark.parametrize("task", synthesis.TASKS)
def test_dark_objects_are_darker_than_what_surrounds_them(task):
    style = {"vesicle": "electron", "cytoskeleton": "reflection"}[task]
    seen = 0
    for one in synthesis.generate_scenes(task, 6, 160, 0, style=style, dark=1.0):
        if one.mask.any():
            seen += 1
            assert one.image[one.mask == 1].mean() < 0.97 * one.image[one.mask == 0].mean()
    assert seen >= 4


def test_grain_has_the_deviation_it_says():
    grain = pixels._grain(torch.arange(8) * 7919, (96, 96), np.arange(2.0, 10.0))
    assert grain.std((1, 2)).numpy() == pytest.approx(1.0, abs=0.2)
    assert grain.mean().abs() < 0.05
    rough = (grain[:, 1:] - grain[:, :-1]).std((1, 2))
    assert (rough[1:] < rough[:-1]).all() or rough[0] > 2 * rough[-1]


def test_subtraction_leaves_the_background_at_zero():
    plain = {"style": "any", "coverage": 0.05, "unevenness": 0.0, "offset": 0.0, "jpeg": 0.0, "hot_pixels": 0.0}
    for number in range(3):
        usual, _ = synthesis.generate("vesicle", 1, 96, 0, first=number, subtracted=0.0, **plain)
        cut, mask = synthesis.generate("vesicle", 1, 96, 0, first=number, subtracted=1.0, **plain)
        assert (cut == 0).mean() > (usual == 0).mean()
        assert cut[mask == 1].mean() > 2 * cut[mask == 0].mean()


def test_what_8_bits_cannot_show_is_not_foreground():
    dim = {"exposure": 0.004, "bits": 16, "photons": 1000.0, "coverage": 0.1, "style": "any", "subtracted": 0.0}
    _, shown = synthesis.generate("vesicle", 2, 96, 0, jpeg=0.0, **dim)
    _, lost = synthesis.generate("vesicle", 2, 96, 0, jpeg=1.0, **dim)
    assert shown.sum() > 100
    assert lost.sum() == 0


def test_jpeg_is_of_8_bits():
    images, _ = synthesis.generate("vesicle", 3, 64, 0, jpeg=1.0, stretch=1.0)
    assert set(np.unique(images % 257)) == {0}
    images, _ = synthesis.generate("vesicle", 3, 64, 0, jpeg=1.0, stretch=0.0)
    assert images.max() <= 255


def test_no_images_is_an_answer():
    images, masks = synthesis.generate("vesicle", count=0, size=32, seed=0)
    assert images.shape == masks.shape == (0, 32, 32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "mitochondria"}, "'mitochondria'.*vesicle, cytoskeleton"),
        ({"size": 8}, "size.*16.*8"),
        ({"size": (64, 64, 3)}, r"size.*\(64, 64, 3\)"),
        ({"size": 64.5}, "64.5"),
        ({"count": -1}, "count.*-1"),
        ({"seed": -1}, "seed.*-1"),
        ({"first": 0.5}, "first.*0.5"),
        ({"radios": (1, 2)}, "radios.*radius"),
        ({"radius": (3, 2)}, r"radius.*px.*\(3, 2\)"),
        ({"radius": (0, 2)}, "radius.*above 0"),
        ({"radius": "big"}, "radius.*'big'"),
        ({"jpeg": 1.5}, "jpeg.*probability.*1.5"),
        ({"style": "oil"}, "'oil'.*cells, field, large, any, electron"),
    ],
)
def test_errors_say_what_came_and_what_is_accepted(change, message):
    arguments = {"task": "vesicle", "count": 1, "size": 64, "seed": 0} | change
    with pytest.raises(ValueError, match=message):
        synthesis.generate(**arguments)


@pytest.mark.parametrize("task", synthesis.TASKS)
def test_the_number_of_threads_changes_nothing(task):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone, masks = synthesis.generate(task, count=3, size=(150, 171), seed=8)
        torch.set_num_threads(2)
        together, others = synthesis.generate(task, count=3, size=(150, 171), seed=8)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(alone, together)
    np.testing.assert_array_equal(masks, others)


@pytest.mark.parametrize("task", synthesis.TASKS)
def test_rendering_on_a_gpu_never_waits_for_it(task):
    """Tensors of the meta device have no values: any reading back raises, and so does mixing with the CPU's."""
    styles = list(synthesis.tables(task)[1])
    some = {"hot_pixels": 1e-3, "jpeg": 0.5, "airy": 0.5, "dark": 0.5, "subtracted": 0.5}
    layouts = [layout.layout(task, (64, 80), 0, i, styles, some) for i in range(6)]
    image, _, labels, visible = pixels.compute(task, layouts, (64, 80), torch.device("meta"))
    assert image.shape == labels.shape == (6, 64, 80)
    assert {image.device.type, labels.device.type, visible.device.type} == {"meta"}
    asked = synthesis.Foreground(share=0.5, faint=2, unfocused=255)
    _, masks = synthesis.render(task, range(3), 64, seed=0, device="meta", foreground=asked)
    assert masks.shape == (3, 64, 64)
    images, masks = synthesis.render(task, range(40), 64, seed=0, device="meta")
    assert (images.dtype, masks.dtype, images.device.type) == (torch.uint16, torch.uint8, "meta")
    assert images.shape == masks.shape == (40, 64, 64)


def test_the_page_lists_every_row_and_style():
    page = Path(__file__).parents[2] / "docs" / "synthesis.md"
    if not page.is_file():
        pytest.skip("docs/ is not here")
    text = page.read_text(encoding="utf-8")
    tables = {
        "Vesicles:": vesicles.VESICLES, "Filaments:": filaments.FILAMENTS, "Cells, both tasks:": cells.CELLS,
        "Optics and camera, both tasks:": optics.OPTICS,
        "Visibility and distractors, vesicles:": truth.SEEN | vesicles.CROWD | untraced.BESIDE_VESICLES,
        "Visibility and distractors, filaments:": untraced.BESIDE_FILAMENTS,
    }  # fmt: skip
    spacings = {"linear": "value", "log": "logarithm", "integer": "whole numbers", "chance": "yes or no"}
    for head, table in tables.items():
        wanted = [
            f"| `{name}` | {row.low:g} | {row.high:g} | {row.unit} | {row.meaning} | {spacings[row.spacing]} |"
            for name, row in table.items()
        ]
        assert text.split(f"\n{head}\n\n")[1].split("\n\n")[0].splitlines()[2:] == wanted
    for word, task in (("Vesicle", "vesicle"), ("Filament", "cytoskeleton")):
        known = synthesis.tables(task)[1]
        total = sum(style.weight for style in known.values())
        shares = [f"`{name}` ({100 * style.weight / total:.0f} %)" for name, style in known.items()]
        assert f"{word} styles: {', '.join(shares)}." in text
