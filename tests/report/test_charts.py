"""Charts: one drawing for light and dark, numbers beside it, names that stay names."""

from xml.etree import ElementTree

import pytest

from segexp.report.charts import Series, decimal, histogram, line_chart, number
from segexp.report.sweep_charts import effect_chart, parallel_chart, positions

SVG = "{http://www.w3.org/2000/svg}"


def parse(chart):
    return ElementTree.fromstring(chart.svg)


def texts(chart):
    return [element.text for element in parse(chart).iter(f"{SVG}text")]


@pytest.mark.parametrize(
    ("value", "text"),
    [(3, "3"), (3.0, "3"), (12345, "12,345"), (0.12345, "0.123"), (1.5e-5, "1.5e-05"), (54.321, "54.32"), (None, ""),
     ("x", "x"), (float("nan"), "not defined"), (float("inf"), "infinite")],
)  # fmt: skip
def test_numbers(value, text):
    assert number(value) == text


def test_scores():
    assert [decimal(0), decimal(0.98765), decimal(123.456)] == ["0.000", "0.988", "123.5"]


def test_lines_carry_their_numbers_and_no_fixed_colour():
    dice = Series("Dice", [0, 1, 2], [0.5, 0.7, 0.8], [0.4, 0.6, 0.7], [0.6, 0.8, 0.9])
    chart = line_chart("Scores", "rising", [dice, Series("IoU", [1], [0.6])], "minutes", "score", unit_y=True)
    assert chart.columns == ["minutes", "Dice", "IoU"]
    assert chart.rows[1] == ["1", "0.700 (0.600 to 0.800)", "0.600"]
    assert chart.rows[2][2] == ""
    root = parse(chart)
    assert root.get("aria-label") == "Scores. rising"
    assert "width" not in root.attrib
    assert "minutes" in texts(chart)
    assert "#0000" not in chart.svg  # each of Matplotlib's colours has become a variable
    assert "var(--c1)" in chart.svg
    assert "var(--c2)" in chart.svg


def test_a_logarithmic_axis_has_plain_numbers():
    chart = line_chart("a", "", [Series("x", [0.001, 1, 65000], [1, 2, 3])], "x", "y", log_x=True)
    assert {"0.001", "0.1", "10", "1000"} <= set(texts(chart))


def test_two_drawings_in_a_page_share_no_id():
    charts = [line_chart("a", "b", [Series("x", [1, 2], [3, 4])], "x", "y") for _ in range(2)]
    ids = [{element.get("id") for element in parse(chart).iter()} - {None} for chart in charts]
    assert ids[0]
    assert not ids[0] & ids[1]
    for chart, own in zip(charts, ids, strict=True):
        links = {element.get("href")[1:] for element in parse(chart).iter() if element.get("href")}
        assert links <= own


def test_names_are_neither_markup_nor_mathematics():
    series = [Series("$a$ <i> 細胞", [1, 2], [3, 4]), Series("b", [1], [1])]
    chart = line_chart("<b>$x^2$</b>", "&", series, "$", "\\frac")
    assert "$a$ <i> 細胞" in texts(chart)
    assert parse(chart).get("aria-label") == "<b>$x^2$</b>. &"


def test_histograms():
    chart = histogram("Sizes", "", [0, 10, 20], {"truth": [3, 1], "prediction": [2, 2]}, "radius")
    assert chart.rows == [["0 to 10", "3", "2"], ["10 to 20", "1", "2"]]


def test_values_lie_by_size_by_magnitude_or_by_name():
    assert positions(["2", "4", "3"])[0] == [0, 1, 0.5]
    assert positions(["1e-1", "1e-3", "1e-2"])[0] == pytest.approx([1, 0, 0.5])
    assert positions(["unet", "", "big"])[0] == [1, 0, 0.5]
    assert positions(["8", "8"])[0] == [0.5, 0.5]
    assert positions(["nan", "1"])[0] == [1, 0]
    assert positions(["0", "100"])[0] == [0, 1]


def test_each_job_is_a_line_and_the_best_one_stands_out():
    parameters = {"trainer.lr": ["0.1", "0.01"], "model": ["a", "b"]}
    chart = parallel_chart(["0", "1"], parameters, [0.5, 0.9], "score")
    assert chart.columns == ["job", "trainer.lr", "model", "score"]
    assert chart.rows == [["0", "0.1", "a", "0.500"], ["1", "0.01", "b", "0.900"]]
    lines = {element.get("class"): ElementTree.tostring(element, "unicode") for element in parse(chart).iter(f"{SVG}g")}
    assert "var(--c1)" in lines["job job-0"]
    assert "var(--c2)" in lines["job job-1"]
    assert "best job, 1, has trainer.lr 0.01, model b" in chart.summary


def test_the_effect_of_a_parameter_is_its_means_beside_the_spread():
    chart = effect_chart("trainer.lr", ["1", "1", "2"], [0.5, 0.7, 0.8], "score")
    assert chart.rows == [["1", "2", "0.600", "0.500", "0.700"], ["2", "1", "0.800", "0.800", "0.800"]]
    assert "Best on average: 2 (0.800)" in chart.summary
    assert "differ by 0.200, jobs of one value by up to 0.200" in chart.summary
    distances = effect_chart("trainer.lr", ["1", "1", "2"], [5.0, 7.0, 8.0], "score", lower=True)
    assert "Best on average: 1 (6.000)" in distances.summary
