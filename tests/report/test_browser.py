"""The pages in a real browser: they load clean, act by mouse, key and touch, and pass axe's rules in light and dark."""

import re

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from segexp.report import write_report
from segexp.report.models_page import render_models
from tests.report.folders import write_run, write_sweep

NAMES = ["<script>alert(1)</script>.tif", "quote\"s ' & é 細胞.tif", "plain.tif", "z.tif"]


@pytest.fixture(scope="module")
def run_page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages") / "run <b>"
    write_run(folder, names=NAMES, warnings=["<img src=x onerror=alert(2)>"], cwd="/tmp/'\"<i>")
    return write_report(folder)


@pytest.fixture(scope="module")
def sweep_page(tmp_path_factory):
    return write_report(write_sweep(tmp_path_factory.mktemp("pages") / "sweep"))


@pytest.fixture(scope="module")
def models_page(tmp_path_factory):
    path = tmp_path_factory.mktemp("pages") / "models.html"
    path.write_text(render_models(["vesicle_electron", "vesicle_giant"]), encoding="utf-8")  # without scores, and with
    return path


def names(page):
    return page.eval_on_selector_all("#gallery li", "items => items.map(item => item.dataset.name)")


def hidden(page, kind, place="#gallery"):
    return page.eval_on_selector(f"{place} .{kind}", "path => getComputedStyle(path).display === 'none'")


def zoom(page):
    return float(page.get_attribute("#stage", "data-zoom"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(visit, run_page, sweep_page, models_page, scheme):
    for path in (run_page, sweep_page, models_page):
        page = visit(path, scheme)
        page.eval_on_selector_all("details", "all => all.forEach(part => { part.open = true; })")
        found = Axe().run(page).response
        assert [(rule["id"], rule["nodes"][0]["html"][:200]) for rule in found["violations"]] == []
        assert {"color-contrast", "button-name", "svg-img-alt"} <= {rule["id"] for rule in found["passes"]}
    page = visit(run_page, scheme)
    page.click(".open")
    assert Axe().run(page, "#viewer").response["violations"] == []


def test_names_and_values_are_text(visit, run_page):
    page = visit(run_page)
    assert sorted(names(page)) == sorted(NAMES)
    shown = page.eval_on_selector_all("#gallery .name", "all => all.map(part => part.textContent)")
    assert sorted(shown) == sorted(NAMES)
    assert "<img src=x" in page.inner_text("#warnings")
    assert page.query_selector("#warnings img") is None
    assert "run <b>" in page.inner_text("h1")


def test_images_are_sorted_by_any_score_and_by_name(visit, run_page):
    page = visit(run_page)
    assert names(page) == NAMES[::-1]  # image k is moved by k pixels
    page.focus("#sort-order")
    page.keyboard.press("b")  # best first
    assert names(page) == NAMES
    page.select_option("#sort-by", "bce")
    assert names(page) == NAMES  # less is better
    assert page.inner_text("#gallery .value").startswith("cross-entropy (nats) 0.")
    page.select_option("#sort-order", "worst")
    assert names(page) == NAMES[::-1]
    page.select_option("#sort-by", "")
    assert names(page)[-1] == "z.tif"
    assert "sorted by name" in page.text_content("#status")


def test_outlines_are_switched_by_mouse_and_by_keyboard(visit, run_page):
    page = visit(run_page)
    assert not hidden(page, "truth")
    page.focus("#tools [data-layer=truth]")
    page.keyboard.press("Space")
    assert hidden(page, "truth")
    assert not hidden(page, "prediction")
    page.click("#tools [data-layer=prediction]")
    assert hidden(page, "prediction")
    page.click(".open")
    assert hidden(page, "truth", "#stage")
    page.keyboard.press("t")
    assert not hidden(page, "truth", "#stage")
    assert page.is_checked("#tools [data-layer=truth]")


def test_an_image_is_enlarged_by_keyboard_alone(visit, run_page):
    page = visit(run_page)
    page.focus("#gallery .open")
    page.keyboard.press("Enter")
    assert page.text_content("#viewer-name") == NAMES[-1]
    assert page.inner_text("#viewer-scores").startswith("Dice 0.")
    assert "objects_truth" not in page.inner_text("#viewer-scores")
    assert zoom(page) == 1
    page.keyboard.press("+")
    page.keyboard.press("+")
    assert zoom(page) == pytest.approx(2.25)
    before = page.get_attribute("#stage svg", "viewBox")
    page.keyboard.press("ArrowRight")
    after = page.get_attribute("#stage svg", "viewBox")
    assert float(after.split()[0]) > float(before.split()[0])
    page.keyboard.press("-")
    assert zoom(page) == pytest.approx(1.5)
    page.keyboard.press("0")
    assert zoom(page) == 1
    page.keyboard.press("n")
    assert page.text_content("#viewer-name") == NAMES[-2]
    page.keyboard.press("p")
    page.keyboard.press("p")
    assert page.text_content("#viewer-name") == NAMES[0]  # round the end
    page.keyboard.press("Escape")
    assert not page.is_visible("#viewer")
    # the dialog tells that it is closed a moment later
    expect(page.locator("#gallery li:focus-within")).to_have_attribute("data-name", NAMES[0])


def test_the_wheel_zooms_where_the_mouse_is_and_dragging_moves(visit, run_page):
    page = visit(run_page)
    page.click(".open")
    box = page.locator("#stage").bounding_box()
    x, y = box["x"] + box["width"] / 2 + 100, box["y"] + box["height"] / 2 + 50
    page.mouse.move(x, y)
    under = "([x, y]) => inView([x, y])"
    before = page.evaluate(under, [x, y])
    page.mouse.wheel(0, -600)
    # expect() and not wait_for_function(): that evaluates text, which the page's own policy forbids
    expect(page.locator("#stage")).to_have_attribute("data-zoom", re.compile(r"^([2-9]|\d{2,})(\.|$)"))
    np.testing.assert_allclose(page.evaluate(under, [x, y]), before, atol=0.5)
    page.mouse.down()
    page.mouse.move(x - 60, y - 40)
    page.mouse.up()
    np.testing.assert_allclose(page.evaluate(under, [x - 60, y - 40]), before, atol=0.5)
    page.click("[data-do=fit]")
    assert zoom(page) == 1
    page.click("[data-do=close]")
    assert not page.is_visible("#viewer")


def test_two_fingers_zoom(visit, run_page):
    page = visit(run_page, width=400, touch=True)
    page.click(".open")
    session = page.context.new_cdp_session(page)
    for kind, spread in (("touchStart", 20), ("touchMove", 40), ("touchMove", 60)):
        points = [{"x": 200 - spread, "y": 400, "id": 0}, {"x": 200 + spread, "y": 400, "id": 1}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert zoom(page) == pytest.approx(3, rel=0.05)


def test_dim_parts_can_be_brightened(visit, run_page):
    page = visit(run_page)
    page.focus("#gamma")
    page.keyboard.press("End")
    assert page.get_attribute("#brighten feFuncG", "exponent") == "0.25"
    style = page.eval_on_selector("#gallery image", "image => getComputedStyle(image).filter")
    assert "brighten" in style
    page.keyboard.press("Home")
    assert page.eval_on_selector("#gallery image", "image => getComputedStyle(image).filter") == "none"


def test_a_command_is_copied(visit, run_page):
    page = visit(run_page)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("[data-copy=command-2]")
    expect(page.locator("#status")).to_have_text("copied")
    assert page.evaluate("navigator.clipboard.readText()") == "segexp train task=vesicle trainer.lr=0.002"


def test_a_phone_scrolls_one_way_only(visit, run_page, sweep_page):
    width = 360
    for path in (run_page, sweep_page):
        page = visit(path, width=width, height=740)
        page.eval_on_selector_all("details", "all => all.forEach(part => { part.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") == width
    page = visit(run_page, width=width, height=740)
    page.click(".open")
    assert page.locator("#stage").bounding_box()["height"] > 350
    assert page.eval_on_selector("#viewer", "part => part.scrollWidth <= part.clientWidth")


def test_charts_follow_the_page_into_the_dark(visit, run_page):
    colours = {}
    for scheme in ("light", "dark"):
        page = visit(run_page, scheme)
        colours[scheme] = page.eval_on_selector("svg.chart text", "text => getComputedStyle(text).fill")
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert colours[scheme] != ground
    assert colours["light"] != colours["dark"]


def test_the_table_of_jobs_is_sorted_by_keyboard_and_empty_cells_stay_last(visit, sweep_page):
    page = visit(sweep_page)

    def jobs():
        return page.eval_on_selector_all(".sortable tbody tr", "rows => rows.map(row => row.dataset.job).join('')")

    assert jobs() == "1023"
    page.focus("thead th:nth-child(2) button")
    page.keyboard.press("Enter")
    assert page.get_attribute("thead th:nth-child(2)", "aria-sort") == "ascending"
    assert jobs() == "2013"
    page.keyboard.press("Enter")
    assert page.get_attribute("thead th:nth-child(2)", "aria-sort") == "descending"
    assert jobs() == "1023"
    page.click("thead th:nth-child(1) button")
    assert jobs() == "0123"
    assert page.get_attribute("thead th:nth-child(2)", "aria-sort") == "none"


def test_a_row_finds_its_line_and_its_page(visit, sweep_page):
    page = visit(sweep_page)
    page.focus("a[href='0/report.html']")
    assert page.eval_on_selector(".job-0", "line => line.classList.contains('marked')")
    assert not page.eval_on_selector(".job-1", "line => line.classList.contains('marked')")
    page.click("a[href='0/report.html']")
    assert page.inner_text("p") == "job"


def test_without_a_script_the_page_still_tells_all(browser, run_page):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(run_page.as_uri())
    assert page.inner_text("#gallery .value").startswith("Dice 0.")
    assert page.locator("svg.chart").count() == 7
    context.close()


def test_a_script_or_picture_that_came_in_some_other_way_stays_dead(browser, run_page, tmp_path):
    bad = "<script>document.title = 'ran'</script><img src='https://example.invalid/x.png'></body>"
    (tmp_path / "bad.html").write_text(run_page.read_text().replace("</body>", bad))
    context = browser.new_context()
    page = context.new_page()
    said = []
    page.on("console", lambda message: said.append(message.text))
    page.goto((tmp_path / "bad.html").as_uri())
    assert page.title() != "ran"
    assert len([text for text in said if "Content Security Policy" in text]) == 2
    page.select_option("#sort-order", "best")  # the page's own script runs
    assert names(page) == NAMES
    context.close()
