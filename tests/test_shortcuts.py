"""What gives a class away is found and priced, noise is not, and too few photos are said to be too few."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFilter
from sklearn.metrics import balanced_accuracy_score

from helpers.trust import plots, properties, shortcuts
from helpers.trust.alone import FOLDS, Cloud, Ranked, orders, units, westfall_young
from helpers.trust.words import files_in_words, network_in_words, shortcut_state, shortcut_verdict

VISIBLE = ("brightness", "contrast", "red_green", "saturation", "sharpness")


def noise(labels, seed, names=VISIBLE):
    values = np.random.default_rng(seed).standard_normal((len(labels), len(names)))
    return pd.DataFrame(values, columns=list(names))


def tried(table, labels, seed=0, groups=None, **more):
    groups = np.arange(len(labels)) if groups is None else groups
    return shortcuts.test_properties(table, labels, groups, seed, **{"permutations": 199} | more)


def row(found, name):
    return found.table.set_index("property").loc[name]


@pytest.fixture
def few_planted(monkeypatch):
    """For tests that repeat: the power is estimated from fewer planted shifts, which takes most of the time."""
    monkeypatch.setattr(shortcuts, "PLANTED", 3)


BALANCED = np.repeat(["a", "b"], 30)
UNBALANCED = np.repeat(["a", "b"], [180, 20])
FIVE = np.repeat(list("abcde"), 24)


# ---- what is measured


def test_file_properties_are_the_files():
    photos = pd.DataFrame(
        {
            "width": [400, 100],
            "height": [200, 100],
            "bytes": [40_000, 5_000],
            "format": ["JPEG", "PNG"],
            "camera": ["Phone 1", np.nan],
            "taken": pd.to_datetime(["2021-05-04T18:30:00", None]),
        }
    )
    table = properties.file_properties(photos)
    assert list(table) == list(properties.FILE_PROPERTIES)
    first = table.iloc[0].to_dict()
    assert first["megapixels"] == pytest.approx(0.08) and first["aspect"] == 2 and first["bytes_per_pixel"] == 0.5
    assert first["hour"] == 18.5 and pd.Timestamp(0) + pd.Timedelta(days=first["date"]) == photos["taken"][0]
    assert table["camera"].tolist() == ["Phone 1", None]
    assert table[["hour", "date"]].iloc[1].isna().all()


def test_photos_without_any_metadata_have_nothing_to_try():
    photos = pd.DataFrame({"width": [400] * 8, "height": [300] * 8, "bytes": [10_000] * 8, "format": ["JPEG"] * 8})
    photos = photos.assign(camera=None, taken=pd.NaT)
    found = tried(properties.file_properties(photos), list("aaaabbbb"))
    assert found.table["p_value"].isna().all() and not found.table["flagged"].any()
    assert shortcuts.metrics(found) == []


def test_picture_properties_of_plain_colours():
    grey = properties.measure(Image.new("RGB", (300, 224), (90, 90, 90)))
    assert grey["brightness"] == pytest.approx(90, abs=0.5) and grey["border_brightness"] == pytest.approx(90, abs=0.5)
    flat = ["contrast", "red_green", "blue_yellow", "saturation", "sharpness", "blockiness"]
    assert [grey[name] for name in flat] == pytest.approx([0] * 6, abs=1e-3)
    red = properties.measure(Image.new("RGB", (224, 300), (200, 100, 0)))
    assert (red["red_green"], red["blue_yellow"], red["saturation"]) == pytest.approx((100, 150, 1))


def test_border_is_the_outer_frame_only():
    picture = Image.new("RGB", (224, 224), (255, 255, 255))
    picture.paste((0, 0, 0), (20, 20, 204, 204))
    measured = properties.measure(picture)
    assert measured["border_brightness"] == pytest.approx(255) and measured["brightness"] < 100
    picture = Image.new("RGB", (224, 224), (255, 0, 0))
    picture.paste((0, 0, 255), (14, 14, 210, 210))
    assert properties.measure(picture)["border_red_green"] == pytest.approx(255)


def test_blur_and_jpeg_blocks_are_seen(picture):
    detail = np.random.default_rng(0).normal(0, 12, (240, 240, 3))
    sharp = Image.fromarray(np.clip(np.asarray(picture(1, (240, 240))) + detail, 0, 255).astype(np.uint8))
    blurred = sharp.filter(ImageFilter.GaussianBlur(2))
    assert properties.measure(sharp)["sharpness"] > properties.measure(blurred)["sharpness"] + 0.5
    squeezed = io.BytesIO()
    sharp.save(squeezed, "JPEG", quality=10)
    assert properties.measure(Image.open(squeezed).convert("RGB"))["blockiness"] > 0.3
    assert abs(properties.measure(sharp)["blockiness"]) < 0.1


def test_picture_properties_are_row_for_row(tmp_path, make_photo):
    photos = pd.DataFrame(
        {"path": [str(make_photo(tmp_path / f"{n}.jpg", n)) for n in range(5)]}, index=[7, 3, 9, 1, 5]
    )
    table = properties.picture_properties(photos)
    assert list(table.index) == [7, 3, 9, 1, 5] and list(table) == list(properties.PICTURE_PROPERTIES)
    for place, path in enumerate(photos["path"]):
        assert table.iloc[place].to_dict() == properties.measure(Image.open(path).convert("RGB"))


# ---- what is found


@pytest.mark.parametrize("labels", [BALANCED, UNBALANCED, FIVE], ids=["30/30", "180/20", "five classes"])
def test_noise_is_seldom_flagged(labels, few_planted):
    alarms = 0
    for seed in range(40):
        found = tried(noise(labels, seed), labels, seed, permutations=99)
        alarms += (found.table["p_corrected"] < 0.05).any()
        assert found.table["balanced_accuracy"].mean() == pytest.approx(found.chance, abs=0.15)
    assert alarms <= 6  # 2 expected; more than 6 happen once in 200 times


def test_copies_are_not_evidence(few_planted):
    """Noise of 30 photos, each there four times: 240 rows that say no more than 60."""
    labels, groups = np.repeat(BALANCED, 4), np.repeat(np.arange(60), 4)
    alarms = blind = 0
    for seed in range(15):
        copies = noise(BALANCED, seed).loc[groups].reset_index(drop=True)
        found = tried(copies, labels, seed, groups, permutations=99)
        assert found.photos == 60
        alarms += found.table["flagged"].any()
        blind += tried(copies, labels, seed, permutations=99).table["flagged"].any()
    assert alarms <= 3 < 8 <= blind


def test_one_standard_deviation_in_60_photos_is_flagged(few_planted):
    hits = 0
    for seed in range(30):
        table = noise(BALANCED, seed)
        table.loc[BALANCED == "b", "contrast"] += 1
        found = tried(table, BALANCED, seed)
        hits += row(found, "contrast")["flagged"]
    assert hits >= 20  # four in five expected, what a t-test with the same correction finds


def test_power_says_how_often():
    planted = [tried(noise(labels, 1), labels).power for labels in (np.repeat(["a", "b"], 6), BALANCED, UNBALANCED)]
    assert planted[0] < 0.3 < 0.6 < planted[1] < 1
    assert planted[2] > 0.6


@pytest.mark.parametrize("kind", ["middle", "spread", "missing", "one value", "category", "no camera"])
def test_differences_of_any_shape_are_flagged(kind):
    chance = np.random.default_rng(3)
    labels = np.repeat(["a", "b"], 60)
    of_b, values = labels == "b", chance.standard_normal(120)
    column = {
        "middle": np.where(of_b, values * 0.3, values * 0.3 + chance.choice([-1, 1], 120)),
        "spread": np.where(of_b, values * 5, values),
        "missing": np.where(of_b & (values > 0), np.nan, values),
        "one value": np.where(of_b & (values > 0), 0.25, chance.standard_normal(120)),
        "category": np.where(of_b, "PNG", chance.choice(["PNG", "JPEG"], 120)),
        "no camera": np.where(of_b, None, "Phone 1"),
    }[kind]
    column = pd.Series(column) if kind in ("category", "no camera") else pd.Series(column.astype(float))
    assert row(tried(noise(labels, 0).assign(odd=column), labels), "odd")["flagged"]


def test_one_odd_class_of_twelve_is_flagged():
    labels = np.repeat([f"class {n:02}" for n in range(12)], 12)
    table = noise(labels, 0)
    table.loc[labels == "class 07", "sharpness"] += 8
    assert row(tried(table, labels), "sharpness")["flagged"]
    assert tried(table, labels).table["flagged"].sum() == 1


def test_a_significant_trifle_is_not_flagged():
    labels = np.repeat(["a", "b"], 2000)
    table = noise(labels, 0, ["brightness", "contrast"])
    table.loc[labels == "b", "brightness"] += 0.25
    found = row(tried(table, labels), "brightness")
    assert found["p_corrected"] < 0.05 and found["balanced_accuracy"] < 0.6 and not found["flagged"]


def test_many_small_classes_and_one_too_small():
    labels = np.array([f"breed {n:03}" for n in range(60) for _ in range(3)] + ["alone", "twins", "twins"])
    groups = np.r_[np.arange(len(labels) - 2), [999, 999]]
    found = tried(noise(labels, 0), labels, groups=groups, permutations=99)
    assert found.dropped == {"alone": 1, "twins": 1}
    assert found.photos == 180 and found.chance == pytest.approx(1 / 60)
    assert not found.table["flagged"].any()


def test_one_class_is_no_comparison():
    with pytest.raises(ValueError, match=r"Two classes.*'b': 1"):
        tried(noise(list("aaab"), 0), list("aaab"))


def test_the_same_seed_gives_the_same():
    one, two = (tried(noise(BALANCED, 0), BALANCED, 5).table for _ in range(2))
    pd.testing.assert_frame_equal(one, two)


def test_folds_are_even_and_hold_every_class():
    photos = units(UNBALANCED, np.arange(200), 0)
    assert photos.sizes.tolist() == [[36, 4]] * FOLDS


def test_properties_alone_never_see_the_photo_they_judge():
    """A property with one value a photo says nothing of it: trained on itself it would say everything."""
    labels = np.repeat(["a", "b"], 100)
    serial = pd.Series(np.random.default_rng(0).permutation(200).astype(float))
    photos = units(labels, np.arange(200), 0)
    assert photos.balanced(Ranked(serial, photos).right()) < 0.62


def test_hits_agree_with_scikit_learn():
    labels = np.repeat(["a", "b"], [30, 60])
    photos = units(labels, np.arange(90), 0)
    right = Ranked(pd.Series(np.repeat([0.0, 1.0, 0.0], 30)), photos).right()
    guess = np.where(right == 1, photos.labels, 1 - photos.labels)
    assert photos.balanced(right) == pytest.approx(balanced_accuracy_score(photos.labels, guess)) == pytest.approx(0.75)


def test_correction_counts_equal_tests_once():
    chance = np.random.default_rng(0)
    one = np.r_[2.6, chance.standard_normal(1999)]
    alone, corrected = westfall_young(np.stack([one] * 5))
    assert corrected == pytest.approx(alone)
    others = np.c_[np.zeros(9), chance.standard_normal((9, 1999))]
    alone, corrected = westfall_young(np.vstack([one, others]))
    assert corrected[0] == pytest.approx(1 - (1 - alone[0]) ** 10, rel=0.4)
    assert (corrected >= alone).all()


# ---- the background


def test_background_is_flagged_where_it_differs_and_only_there():
    chance = np.random.default_rng(0)
    behind = chance.standard_normal((60, 200))
    assert not row(tried(noise(BALANCED, 0), BALANCED, background=behind), "background")["flagged"]
    behind[BALANCED == "b", :40] += 0.7
    found = row(tried(noise(BALANCED, 0), BALANCED, background=behind), "background")
    assert found["flagged"] and found["seen_by_network"]


def test_background_noise_of_unequal_classes_gets_half():
    chance = np.random.default_rng(1)
    photos = units(UNBALANCED, np.arange(200), 0)
    shares = [photos.balanced(Cloud(chance.standard_normal((200, 60)), photos).right()) for _ in range(20)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.04)
    assert Cloud(chance.standard_normal((200, 60)), photos).statistics(orders(200, 30, 0)).shape == (31,)


# ---- what it costs


def priced(leaning, seed=0, strength=2.0):
    """A border that tells most photos, and a network that sees either only the border or only the subject."""
    chance = np.random.default_rng(seed)
    labels = np.repeat(["a", "b"], 100)
    sign = np.where(labels == "b", 1.0, -1.0)
    table = noise(labels, seed)
    table["border_brightness"] = sign * strength / 2 + chance.standard_normal(200)
    seen = table["border_brightness"] if leaning else sign * 3.5 + chance.standard_normal(200)
    features = np.c_[seen, 0.3 * chance.standard_normal((200, 30))]
    found = tried(table, labels)
    return found, shortcuts.price(found, table, features, labels, np.arange(200), 0)


def test_a_network_that_leans_on_the_border_is_found_out():
    found, cost = priced(leaning=True)
    border = cost.misled.set_index("property").loc["border_brightness"]
    assert border["leans"] and border["photos"] > 10 and border["high"] < 0.5
    assert cost.properties == pytest.approx(cost.network, abs=0.08)
    assert shortcut_verdict(found, cost).startswith("found, costs about 0.")
    assert "costs about" in network_in_words(found, cost)


def test_a_network_that_sees_the_subject_is_cleared():
    found, cost = priced(leaning=False)
    assert cost.network > 0.95 > cost.properties > 0.75
    assert not cost.misled["leans"].any()
    assert shortcut_verdict(found, cost) == "found, but no sign that the score rests on it"
    assert "No sign that the score rests on it" in network_in_words(found, cost)


def test_a_shortcut_that_is_never_wrong_cannot_be_priced():
    found, cost = priced(leaning=True, strength=12)
    border = cost.misled.set_index("property").loc["border_brightness"]
    assert border["photos"] == 0 and np.isnan(border["accuracy"])
    assert "cannot be told" in shortcut_verdict(found, cost)
    assert "border, brightness (0)" in network_in_words(found, cost)


def test_a_loss_on_too_few_photos_is_neither_cost_nor_comfort():
    found, cost = priced(leaning=False)
    cost.misled.loc[:, ["photos", "right", "accuracy", "low", "high"]] = 20, 17, 0.85, 0.64, 0.95
    cost.misled["cost"] = cost.accuracy - 0.85
    assert "too few" in shortcut_verdict(found, cost)
    assert "too few to tell" in network_in_words(found, cost) and "No sign" not in network_in_words(found, cost)


def test_background_alone_is_no_verdict_unless_the_network_leans_on_it():
    chance = np.random.default_rng(0)
    labels = np.repeat(["a", "b"], 80)
    sign = np.where(labels == "b", 1.0, -1.0)[:, None]
    behind = (0.35 * sign + chance.standard_normal((160, 40))) * np.r_[[1] * 8, [0] * 32]
    subject = 2.5 * sign + chance.standard_normal((160, 10))
    for features, state in ((subject, "nothing found"), (behind, "found")):
        table = noise(labels, 0)
        found = tried(table, labels, background=behind)
        cost = shortcuts.price(found, table, features, labels, np.arange(160), 0, behind)
        assert row(found, "background")["flagged"]
        assert shortcut_state(found, True, cost) == state
        assert "centre of the photos blanked" in network_in_words(found, cost)


# ---- what is said and shown


def test_files_and_network_are_two_verdicts():
    table = noise(BALANCED, 0).assign(width=np.where(BALANCED == "a", 256.0, 3024.0))
    found = tried(table, BALANCED)
    assert shortcut_state(found, seen_by_network=False) == "found"
    assert shortcut_state(found, seen_by_network=True) == "nothing found"
    assert "width (pixels) (alone 1.00 right)" in files_in_words(found)
    assert {entry["property"]: entry["seen_by_network"] for entry in shortcuts.metrics(found)}["width"] is False


def test_too_few_photos_cannot_tell():
    labels = np.repeat(["a", "b"], 6)
    found = tried(noise(labels, 0), labels)
    assert shortcut_state(found, seen_by_network=True) == "cannot tell"
    assert files_in_words(found).startswith("Cannot tell, too few photos: with 12 of them")


def test_most_extreme_values():
    values = pd.Series([5.0, 1.0, np.nan, 5.1, 9.0, 4.9, -30.0])
    assert plots.most_extreme(values, 3) == [6, 1, 4]
    assert plots.most_extreme(pd.Series([np.nan, 2.0]), 5) == [1]
    assert plots.most_extreme(pd.Series(["x", "x", None, "y", "x"], dtype=object), 5) == [3, 0]


def test_figures_show_what_was_found(tmp_path, make_photo):
    paths = [str(make_photo(tmp_path / f"{n}.jpg", n)) for n in range(3)]
    photos = pd.DataFrame({"path": np.resize(paths, 60), "label": BALANCED})
    table = noise(BALANCED, 0).assign(width=np.where(BALANCED == "a", 256.0, 3024.0))
    table["camera"] = pd.Series(np.where(BALANCED == "a", None, "Phone 1"), dtype=object)
    found = tried(table, BALANCED)
    axes = plots.told_apart(found).axes
    assert [axis.get_title(loc="left") for axis in axes] == ["In the files only", "The network could see"]
    assert sum(line.get_marker() == "D" for axis in axes for line in axis.lines) == found.table["flagged"].sum() == 2
    assert set(plots.worst_two(found)) == {"width", "camera"}
    figure = plots.distributions(found, table, photos)
    assert sum(bool(axis.images) for axis in figure.axes) == 5 + 1
    figure.canvas.draw()
