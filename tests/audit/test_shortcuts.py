"""Shortcuts are found and their effect on the score is estimated; noise is not; too few photos are reported."""

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from PIL import Image, ImageFilter

from builders import SETTINGS, draw, features_of, photo_table
from phototransfer.audit import check_shortcuts, distributions, properties, shortcuts
from phototransfer.finding import DOUBT, NOTE, SERIOUS
from phototransfer.report import Skipped
from phototransfer.style import class_colours

VISIBLE = ("brightness", "contrast", "red_green", "saturation", "sharpness")
BALANCED = np.repeat(["a", "b"], 30)
UNBALANCED = np.repeat(["a", "b"], [180, 20])
FIVE = np.repeat(list("abcde"), 24)


def noise(labels, seed, names=VISIBLE):
    values = np.random.default_rng(seed).standard_normal((len(labels), len(names)))
    return pd.DataFrame(values, columns=list(names))


@pytest.fixture
def check(monkeypatch):
    """check(measured, labels, ...): check_shortcuts with these properties, by default on features that are noise."""

    def run(
        measured, labels, *, seed=0, groups=None, plain=None, background=None, planted=100, paths=None, effects=True
    ):
        monkeypatch.setattr(shortcuts, "_PERMUTATIONS", 199 if planted > 3 else 99)
        monkeypatch.setattr(shortcuts, "_PLANTED", planted)  # takes most of the time
        monkeypatch.setattr(shortcuts, "measure_properties", lambda photos, results: measured)
        if not effects:  # they take most of the time that is left
            monkeypatch.setattr(shortcuts, "_estimate_effects", lambda *_: (pd.DataFrame(), {}, 0.0))
        photos = photo_table(list(labels), groups=groups)
        photos = photos if paths is None else photos.assign(path=paths)
        random = np.random.default_rng(99 + seed).standard_normal((2, len(labels), 20)).astype(np.float32)
        plain = random[0] if plain is None else plain
        blanked = random[1] if background is None else np.asarray(background, np.float32)
        features = features_of(plain, background=lambda: blanked)
        return check_shortcuts(photos, features, {**SETTINGS, "SEED": seed})

    return run


def line(result, question="shortcuts"):
    return result.findings()[question].line


def row(result, name):
    return result.tests.set_index("property").loc[name]


def effect(result, name):
    return result.effects.set_index("property").loc[name]


# ---- what is measured


def test_file_properties():
    photos = photo_table(
        ["a", "b"],
        width=[400, 100],
        height=[200, 100],
        format=["JPEG", "PNG"],
        camera=["Phone 1", np.nan],
        taken=pd.to_datetime(["2021-05-04T18:30:00", None]),
        bytes=[40_000, 5_000],
    )
    table = properties.file_properties(photos)
    assert list(table) == list(properties.FILE_PROPERTIES)
    first = table.iloc[0].to_dict()
    assert first["megapixels"] == pytest.approx(0.08) and first["aspect"] == 2 and first["bytes_per_pixel"] == 0.5
    assert first["hour"] == 18.5 and pd.Timestamp(0) + pd.Timedelta(days=first["date"]) == photos["taken"][0]
    assert table["camera"].tolist() == ["Phone 1", None]
    assert table[["hour", "date"]].iloc[1].isna().all()


def test_picture_properties_of_plain_colours():
    grey = properties.measure_picture(Image.new("RGB", (300, 224), (90, 90, 90)))
    assert [grey["brightness"], grey["border_brightness"]] == pytest.approx([90, 90], abs=0.5)
    zero = ["contrast", "red_green", "blue_yellow", "saturation", "sharpness", "blockiness"]
    assert [grey[name] for name in zero] == pytest.approx([0] * 6, abs=1e-3)
    red = properties.measure_picture(Image.new("RGB", (224, 300), (200, 100, 0)))
    assert (red["red_green"], red["blue_yellow"], red["saturation"]) == pytest.approx((100, 150, 1))


def test_border_is_the_outer_frame_only():
    picture = Image.new("RGB", (224, 224), (255, 0, 0))
    picture.paste((0, 0, 255), (14, 14, 210, 210))
    measured = properties.measure_picture(picture)
    assert measured["border_red_green"] == pytest.approx(255) and measured["red_green"] < 100


def test_blur_and_jpeg_blocks_are_measured():
    detail = np.random.default_rng(0).normal(0, 12, (240, 240, 3))
    sharp = Image.fromarray(np.clip(np.asarray(draw(1, (240, 240))) + detail, 0, 255).astype(np.uint8))
    before = properties.measure_picture(sharp)
    blurred = properties.measure_picture(sharp.filter(ImageFilter.GaussianBlur(2)))
    assert before["sharpness"] > blurred["sharpness"] + 0.5
    compressed = io.BytesIO()
    sharp.save(compressed, "JPEG", quality=10)
    assert properties.measure_picture(Image.open(compressed).convert("RGB"))["blockiness"] > 0.3
    assert abs(before["blockiness"]) < 0.1


def test_properties_are_row_for_row(tmp_path, make_photo):
    paths = [str(make_photo(tmp_path / f"{number}.jpg", number)) for number in range(5)]
    photos = photo_table(list("aabbb"), path=paths).set_index(pd.Index([7, 3, 9, 1, 5]))
    table = properties.measure_properties(photos)
    assert list(table.index) == [7, 3, 9, 1, 5]
    assert set(table) == set(properties.FILE_PROPERTIES | properties.PICTURE_PROPERTIES)
    for place, path in enumerate(paths):
        expected = properties.measure_picture(Image.open(path).convert("RGB"))
        assert table.iloc[place][list(expected)].to_dict() == expected


def test_an_unreadable_photo_is_named(tmp_path):
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"no picture")
    with pytest.raises(OSError, match=r"broken\.jpg"):
        properties.measure_properties(photo_table(["a"], path=[str(path)]))


# ---- what is found


@pytest.mark.parametrize("labels", [BALANCED, UNBALANCED, FIVE], ids=["30/30", "180/20", "five classes"])
def test_noise_is_seldom_flagged(labels, check):
    alarms = 0
    for seed in range(40):
        result = check(noise(labels, seed), labels, seed=seed, planted=3, effects=False)
        alarms += (result.tests["p_corrected"] < 0.05).any()
        assert result.tests["balanced_accuracy"].mean() == pytest.approx(result.sample.chance_level, abs=0.15)
    assert alarms <= 6  # 2 expected; more than 6 happen once in 200 times


def test_near_duplicates_in_one_group_count_once(check):
    """Noise of 30 photos per class, each with three near-duplicates: 240 rows that contain no more than 60 do."""
    labels, groups = np.repeat(BALANCED, 4), np.repeat(np.arange(60), 4)
    alarms = ungrouped_alarms = 0
    for seed in range(10):
        repeated = noise(BALANCED, seed).loc[groups].reset_index(drop=True)
        result = check(repeated, labels, seed=seed, groups=groups, planted=3, effects=False)
        assert result.to_dict()["photos"] == 60
        alarms += result.tests["flagged"].any()
        ungrouped = check(repeated, labels, seed=seed, planted=3, effects=False)
        ungrouped_alarms += ungrouped.tests["flagged"].any()
    assert alarms <= 2 < 5 <= ungrouped_alarms


def test_mirrored_duplicates_in_one_group_count_once(check, tmp_path, make_photo):
    """Defect D2: `mark_duplicates` merges a photo and its mirror image into one group, though their hashes differ."""
    paths = []
    for number in range(20):
        path = make_photo(tmp_path / f"{number}.png", number, format="PNG")
        mirrored = path.with_name(f"{number}m.png")
        Image.open(path).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(mirrored)
        paths += [str(path), str(mirrored)]
    labels, groups = np.tile(list("aabb"), 10), np.repeat(np.arange(20), 2)
    measured = properties.measure_properties(photo_table(list(labels), path=paths))
    result = check(measured, labels, groups=groups, planted=3)
    assert result.to_dict()["photos"] == 20 and result.effects["photos"].max() <= 20
    assert result.sample.rows.tolist() == list(range(0, 40, 2))


def test_one_standard_deviation_in_60_photos_is_flagged(check):
    flagged = 0
    for seed in range(20):
        measured = noise(BALANCED, seed)
        measured.loc[BALANCED == "b", "contrast"] += 1
        flagged += row(check(measured, BALANCED, seed=seed, planted=4, effects=False), "contrast")["flagged"]
    assert flagged >= 12  # four in five expected, what a t-test with the same correction finds


def test_power_grows_with_the_number_of_photos(check):
    few, medium, unequal = (
        check(noise(labels, 1), labels).power for labels in (np.repeat(["a", "b"], 6), BALANCED, UNBALANCED)
    )
    assert few < 0.3 < 0.6 < medium < 1 and unequal > 0.6


@pytest.mark.parametrize("kind", ["middle", "spread", "missing", "one value", "category", "no camera"])
def test_differences_of_any_shape_are_flagged(kind, check):
    rng = np.random.default_rng(3)
    labels = np.repeat(["a", "b"], 60)
    of_b, values = labels == "b", rng.standard_normal(120)
    column = {
        "middle": np.where(of_b, values * 0.3, values * 0.3 + rng.choice([-1, 1], 120)),
        "spread": np.where(of_b, values * 5, values),
        "missing": np.where(of_b & (values > 0), np.nan, values),
        "one value": np.where(of_b & (values > 0), 0.25, rng.standard_normal(120)),
        "category": np.where(of_b, "PNG", rng.choice(["PNG", "JPEG"], 120)),
        "no camera": np.where(of_b, None, "Phone 1"),
    }[kind]
    name = {"category": "format", "no camera": "camera"}.get(kind, "hour")
    column = pd.Series(column, dtype=float if name == "hour" else object)
    assert row(check(noise(labels, 0).assign(**{name: column}), labels, planted=4), name)["flagged"]


def test_one_odd_class_of_twelve_is_flagged(check):
    labels = np.repeat([f"class {number:02}" for number in range(12)], 12)
    measured = noise(labels, 0)
    measured.loc[labels == "class 07", "sharpness"] += 8
    tests = check(measured, labels, planted=4).tests
    assert list(tests.loc[tests["flagged"], "property"]) == ["sharpness"]


def test_a_significant_but_small_difference_is_not_flagged(check):
    labels = np.repeat(["a", "b"], 2000)
    measured = noise(labels, 0, ["brightness", "contrast"])
    measured.loc[labels == "b", "brightness"] += 0.25
    brightness = row(check(measured, labels, planted=4), "brightness")
    assert brightness["p_corrected"] < 0.05 and brightness["balanced_accuracy"] < 0.6 and not brightness["flagged"]


def test_many_small_classes_and_some_too_small(check):
    labels = np.array([*np.repeat([f"breed {number:03}" for number in range(60)], 3), "single", "twins", "twins"])
    groups = np.r_[np.arange(len(labels) - 2), [999, 999]]
    result = check(noise(labels, 0), labels, groups=groups, planted=3)
    assert result.to_dict()["left_out"] == {"single": 1, "twins": 1} and result.to_dict()["photos"] == 180
    assert "single" in result.summary() and not result.tests["flagged"].any()


def test_the_same_seed_gives_the_same_result(check):
    first, second = (check(noise(BALANCED, 0), BALANCED, seed=5, planted=4) for _ in range(2))
    pd.testing.assert_frame_equal(first.tests, second.tests)
    assert first.to_dict() == second.to_dict()


def test_background_is_flagged_where_it_differs_and_only_there(check):
    background = np.random.default_rng(0).standard_normal((60, 200))
    assert not row(check(noise(BALANCED, 0), BALANCED, background=background, planted=4), "background")["flagged"]
    background[BALANCED == "b", :40] += 0.7
    tested = row(check(noise(BALANCED, 0), BALANCED, background=background, planted=4), "background")
    assert tested["flagged"] and tested["seen_by_network"]


# ---- off, or too few photos


def test_checks_off_and_too_few_photos_are_skipped():
    photos = photo_table(list("aaab"))
    features = features_of(np.zeros((4, 3)), background=lambda: pytest.fail("Nothing is to be computed."))
    off = check_shortcuts(photos, features, {**SETTINGS, "CHECKS": False})
    assert off == Skipped("shortcuts", "Not checked (CHECKS = False).")
    skipped = check_shortcuts(photos, features, SETTINGS)
    assert isinstance(skipped, Skipped) and skipped.name == "shortcuts" and skipped.reason
    assert distributions(off) == distributions(skipped) == Skipped("distributions", "")


@pytest.mark.parametrize("labels", ["aabb", "aaabb", "aabbcc"])
def test_very_few_photos_raise_no_error(labels, check):
    result = check(noise(list(labels), 0), list(labels), planted=3)
    assert line(result).startswith("cannot tell") and result.summary() and result.to_dict()["photos"]


def test_photos_without_any_metadata(check):
    """All properties of the files are the same; the background is tested nevertheless."""
    measured = properties.file_properties(photo_table(list("aaaabbbb")))
    measured = measured.join(noise(list("aaaabbbb"), 0))
    result = check(measured, list("aaaabbbb"), planted=3)
    files = result.tests[~result.tests["seen_by_network"]]
    assert len(files) == 9 and files["p_value"].isna().all() and not files["flagged"].any()
    assert {entry["property"] for entry in result.to_dict()["properties"]} == {*VISIBLE, "background"}
    titles = [axis.get_title(loc="left") for axis in result.plot().axes]
    assert len(titles) == 1


def test_too_few_photos_cannot_tell(check):
    labels = np.repeat(["a", "b"], 6)
    result = check(noise(labels, 1), labels)
    assert [finding.line for finding in result.findings().values()][:2] == ["cannot tell, too few photos"] * 2
    assert "12 photos" in result.summary() and result.advice() == []


# ---- estimated effect on the score


@pytest.fixture
def with_border(check):
    """with_border(relied_on, scatter): the border differs; the features show only it, or only the subject."""

    def run(relied_on, scatter=1.0):
        rng = np.random.default_rng(0)
        labels = np.repeat(["a", "b"], 100)
        sign = np.where(labels == "b", 1.0, -1.0)
        measured = noise(labels, 0)
        measured["border_brightness"] = sign + scatter * rng.standard_normal(200)
        visible = measured["border_brightness"] if relied_on else sign * 3.5 + rng.standard_normal(200)
        return check(measured, labels, plain=np.c_[visible, 0.3 * rng.standard_normal((200, 30))], planted=4)

    return run


def test_a_score_that_depends_on_the_border(with_border):
    result = with_border(relied_on=True)
    border = effect(result, "border_brightness")
    assert border["depends"] == "yes" and border["photos"] > 10 and border["high"] < 0.5
    assert result.scores["properties"] == pytest.approx(result.scores["network"], abs=0.08)
    largest = result.effects.loc[result.effects["depends"] == "yes", "effect"].max()
    finding = result.findings()["shortcuts"]
    assert f"estimated effect on the score {largest:.2f}" in finding.line and finding.effect == largest
    assert f"{border['correct']} of {border['photos']} photos" in finding.obstacle
    assert finding.severity == SERIOUS and "ridge regression" in result.summary()
    assert result.advice() == [finding.remedy]


def test_a_score_that_depends_on_the_subject(with_border):
    result = with_border(relied_on=False)
    assert result.scores["network"] > 0.95 > result.scores["properties"] > 0.75
    assert set(result.effects["depends"]) == {"no sign"}
    assert line(result).startswith("found") and line(result).endswith("no sign that the score depends on it")
    assert result.findings()["shortcuts"].severity == NOTE


def test_without_photos_that_contradict_it_there_is_no_estimate(with_border):
    result = with_border(relied_on=True, scatter=0.0)
    border = effect(result, "border_brightness")
    assert border["photos"] == 0 and np.isnan(border["accuracy"])
    assert "too few photos" in line(result) and f"{properties.NAMES['border_brightness']} (0)" in result.summary()
    entry = next(entry for entry in result.to_dict()["effects"] if entry["property"] == "border_brightness")
    assert entry["accuracy"] is None  # JSON has no NaN


def test_a_lower_score_on_too_few_photos_is_no_conclusion(with_border):
    result = with_border(relied_on=False)
    result.effects["depends"] = "cannot tell"
    assert "too few photos" in line(result) and "no sign" not in line(result)
    assert result.findings()["shortcuts"].severity == DOUBT


def test_background_is_serious_only_if_the_score_depends_on_it(check):
    rng = np.random.default_rng(0)
    labels = np.repeat(["a", "b"], 80)
    sign = np.where(labels == "b", 1.0, -1.0)[:, None]
    background = (0.35 * sign + rng.standard_normal((160, 40))) * np.r_[[1] * 8, [0] * 32]
    subject = 2.5 * sign + rng.standard_normal((160, 10))
    for plain, severity in ((subject, NOTE), (background, SERIOUS)):
        result = check(noise(labels, 0), labels, plain=plain, background=background)
        assert row(result, "background")["flagged"] and line(result) == "nothing found"
        assert result.findings()["background"].state == "found"
        assert result.findings()["background"].severity == severity
        assert "middle of the photos blanked" in result.summary()
        assert distributions(result) == Skipped("distributions", "")


# ---- sentences and figures


def test_files_and_pictures_are_two_conclusions(check):
    measured = noise(BALANCED, 0).assign(width=np.where(BALANCED == "a", 256.0, 3024.0))
    result = check(measured, BALANCED)
    assert line(result) == "nothing found" and line(result, "files").startswith("found: width (pixels) 1.00")
    assert row(result, "width")["seen_by_network"] == False  # noqa: E712


def test_scores_below_the_chance_level_are_explained(check):
    result = check(noise(BALANCED, 0), BALANCED, planted=4)
    result.tests["balanced_accuracy"] = 0.45
    assert "below the chance level" in result.summary()
    result.tests["balanced_accuracy"] = 0.55
    assert "below the chance level" not in result.summary()


def test_most_extreme_values():
    values = pd.Series([5.0, 1.0, np.nan, 5.1, 9.0, 4.9, -30.0, 5.0])
    assert shortcuts._most_extreme(values) == [6, 1, 5, 3, 4]
    assert shortcuts._most_extreme(pd.Series([np.nan, 2.0])) == [1]
    assert shortcuts._most_extreme(pd.Series(["x", "x", None, "y", "x"], dtype=object)) == [3, 0]


def test_figures_show_what_is_flagged(check, tmp_path, make_photo):
    paths = [str(make_photo(tmp_path / f"{number}.jpg", number)) for number in range(3)]
    measured = noise(BALANCED, 0).assign(width=np.where(BALANCED == "a", 256.0, 3024.0))
    measured["camera"] = pd.Series(np.where(BALANCED == "a", None, "Phone 1"), dtype=object)
    result = check(measured, BALANCED, paths=np.resize(paths, 60))
    axes = result.plot().axes
    assert len(axes) == 2
    lines = [line for axis in axes for line in axis.lines]
    assert sum(line.get_marker() == "D" for line in lines) == result.tests["flagged"].sum() == 2
    assert len({line.get_color() for line in lines if line.get_marker() == "o"}) == 1
    shown = distributions(result)
    assert set(shown.to_dict()["properties"]) == {"width", "camera"}
    figure = shown.plot()
    assert sum(bool(axis.images) for axis in figure.axes) == 5 + 1
    figure.canvas.draw()


def test_a_class_has_one_colour_in_every_panel(check, tmp_path, make_photo):
    """The classes come in the order of their medians, which differs between the two panels."""
    path = str(make_photo(tmp_path / "photo.jpg", 0))
    of_a = BALANCED == "a"
    measured = noise(BALANCED, 0).assign(width=np.where(of_a, 256.0, 3024.0), height=np.where(of_a, 3024.0, 256.0))
    result = check(measured + noise(BALANCED, 1, measured.columns), BALANCED, paths=path)
    figure, colours = distributions(result).plot(), class_colours(["a", "b"])
    panels = [axis for axis in figure.axes if axis.get_xlabel()]
    assert len(panels) == 2
    orders = set()
    for axis in panels:
        labels = [tick.get_text().split()[0] for tick in axis.get_yticklabels()]
        points = [line for line in axis.lines if line.get_marker() == "."]
        assert [to_hex(line.get_color()).upper() for line in points] == [colours[label].upper() for label in labels]
        orders.add(tuple(labels))
    assert len(orders) == 2
