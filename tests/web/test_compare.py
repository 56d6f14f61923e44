"""Check --mode=compare: two runs on one page, with one slider and one table."""

import json
import re
import shutil

import numpy as np
import pytest
from command_line import run

from tiny_diffusion_jax.files import write_json


@pytest.fixture(scope="module")
def compared(finished, tmp_path_factory):
    """(folder with compare.html, the run), comparing a run with a copy without metrics."""
    folder = tmp_path_factory.mktemp("compare")
    other = shutil.copytree(finished[0], folder / "other")
    (other / "metrics.json").unlink()
    write_json(other / "config.json", json.loads(
        (other / "config.json").read_text("utf-8")) | {"name": "other"})  # fmt: skip
    result = run("--mode=compare", f"--runs={finished[0]},{other}", f"--workdir={folder}",
                 "--config.sample.seed=7")  # fmt: skip
    assert result.code == 0 and f"wrote {folder / 'compare.html'}; open" in result.err, result
    return folder, finished[0]


def test_all_numbers_stand_in_one_table(compared):
    folder, of = compared
    text = (folder / "compare.html").read_text("utf-8")
    assert len(text) < 5e6 and "default-src 'none'" in text
    for metric in json.loads((of / "metrics.json").read_text("utf-8"))["metrics"].values():
        assert f"{metric['value']:.3g}" in text
    assert text.count("not measured") == 5  # one for each metric of the first run


@pytest.mark.parametrize("text", ['{"metrics": {', "{}", "[]"])
def test_damaged_numbers_are_named_in_a_line(finished, tmp_path, text):
    other = shutil.copytree(finished[0], tmp_path / "other")
    (other / "metrics.json").write_text(text, "utf-8")
    result = run("--mode=compare", f"--runs={finished[0]},{other}", f"--workdir={tmp_path}")
    line = result.err.splitlines()[-1]
    assert result.code == 2 and line.startswith(f"error: {other / 'metrics.json'}: "), result
    assert "--mode=evaluate" in line and not (tmp_path / "compare.html").exists()


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_one_slider_moves_both_from_the_same_noise(opened, compared, size):
    tab = opened(compared[0] / "compare.html", size=size)
    page = tab.page
    assert not tab.too_wide() and "All runs start from the same noise." in page.inner_text(".lead")
    canvases = page.locator(".stage canvas")
    pictures = lambda: [canvases.nth(i).evaluate("c => c.toDataURL()") for i in range(2)]
    at_data = pictures()
    page.fill("[data-do=time]", "300")
    moved = pictures()
    assert canvases.count() == 2 and all(a != b for a, b in zip(at_data, moved, strict=True))
    assert moved[0] == moved[1]  # both runs have the same weights
    page.click("[data-do=play]")
    tab.wait("playback.time > 0.32")


def test_both_players_and_the_controls_are_visible_at_once(opened, compared):
    """Also after the page is scrolled to the players: the bar sticks to the top."""
    page = opened(compared[0] / "compare.html", size="wide").page
    box = lambda selector, k=0: page.locator(selector).nth(k).bounding_box()
    ends = lambda: [box(".bar")["y"]] + [
        box(".stage canvas", k)["y"] + box(".stage canvas", k)["height"] for k in (0, 1)]
    assert ends()[0] >= 0 and max(ends()) <= 900
    page.evaluate("scrollTo(0, 150)")
    assert ends()[0] == pytest.approx(0, abs=1) and max(ends()) <= 900


def test_a_phone_says_what_is_below(opened, compared):
    page = opened(compared[0] / "compare.html", size="phone").page
    links = page.locator(".more a")
    assert links.all_inner_texts()[-3:] == ["numbers", "losses", "options"]
    links.nth(1).click()
    assert abs(page.locator("#run-2").bounding_box()["y"]) < 200
    # Play and the slider stay in view
    ends = 0
    for part in ("play", "time"):
        box = page.locator(f"[data-do={part}]").bounding_box()
        assert ends <= box["y"] < box["y"] + box["height"] < 140
        ends = box["y"] + box["height"] - 1


def test_losses_of_both_runs_are_in_one_chart(opened, compared):
    page = opened(compared[0] / "compare.html").page
    page.focus("#loss svg")
    rows = [json.loads(line) for line in
            (compared[1] / "metrics.jsonl").read_text("utf-8").splitlines()]  # fmt: skip
    assert page.locator("#loss .line").count() == 2 and len({row["step"] for row in rows}) > 1
    last = page.evaluate("data.losses.map((loss) => loss.step.at(-1))")
    assert last == [rows[-1]["step"]] * 2 and f"step {last[0]}" in page.inner_text("#loss output")


def test_arrow_keys_in_a_table_scroll_the_table(opened, compared):
    page = opened(compared[0] / "compare.html", size="phone").page
    time = page.evaluate("playback.time")
    for k in (0, 1):
        page.locator(".scroll").nth(k).focus()
        page.keyboard.press("ArrowLeft")
        page.keyboard.press(" ")
    assert page.evaluate("[playback.time, playback.playing]") == [time, False]


def test_colours_of_members_need_the_same_members(opened, compared, tmp_path):
    """There is one legend for all runs, so other members have no colours."""
    text = (compared[0] / "compare.html").read_text("utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    count = len(data["players"][0]["reverse"]["sizes"])
    for name, others in (("same", ["dino", "moons"]), ("other", ["dino", "line"])):
        for player, members in zip(data["players"], (["dino", "moons"], others), strict=True):
            player["reverse"]["marks"] |= {
                "kind": "member", "members": members, "member": [0] * count,
                "names": [members[0]] * count}  # fmt: skip
        page = re.sub(r'(id="data">).*?(</script>)', lambda m: m[1] + json.dumps(data) + m[2], text,
                      flags=re.DOTALL)  # fmt: skip
        (tmp_path / f"{name}.html").write_text(page, "utf-8")
        shown = opened(tmp_path / f"{name}.html").page
        offered = shown.eval_on_selector_all(
            "[data-do=colour] option", "all => all.map((each) => each.value)")  # fmt: skip
        assert ("member" in offered) == (name == "same") and "plain" in offered
        assert ("dino" in shown.inner_text(".legend")) == (name == "same")


def test_the_better_number_is_marked_unless_the_data_differ(finished, tmp_path):
    """A run is better in a measure if it is nearer to the floor by more than chance."""
    other = shutil.copytree(finished[0], tmp_path / "other")
    content = json.loads((other / "metrics.json").read_text("utf-8"))
    content["metrics"]["sliced_wasserstein2"]["ratio"] += 1000
    write_json(other / "metrics.json", content)
    compare = lambda: run("--mode=compare", f"--runs={other},{finished[0]}",
                          f"--workdir={tmp_path}")  # fmt: skip
    assert compare().code == 0
    text = (tmp_path / "compare.html").read_text("utf-8")
    [row] = [row for row in text.split("<tr>") if "★" in row]
    first, second = row.split("</td>")[:2]
    assert "Sliced W2" in first and "★" in second and "★" not in first
    assert "different data" not in text
    config = json.loads((other / "config.json").read_text("utf-8"))
    config["dataset"]["title"] = "other moons"
    write_json(other / "config.json", config)
    assert compare().code == 0
    text = (tmp_path / "compare.html").read_text("utf-8")
    assert "learned from different data" in text and "★" not in text


def test_the_seed_is_the_one_that_was_asked_for(compared):
    folder, of = compared[0], compared[0] / "other"
    result = run(f"--workdir={of}", "--mode=sample", "--config.sample.seed=7",
                 "--config.evaluate.gifs=False", "--config.sample.num_sets=1")  # fmt: skip
    assert result.code == 0
    text = (folder / "compare.html").read_text("utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    positions = data["players"][0]["reverse"]["positions"]
    low, step = np.array(positions["offset"][-2:]), np.array(positions["scale"][-2:])
    sets = np.load(of / "samples.npy")
    np.testing.assert_allclose(low, sets.min((0, 1)), atol=1e-5)
    np.testing.assert_allclose(low + 65_534 * step, sets.max((0, 1)), atol=1e-5)
