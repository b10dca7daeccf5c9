"""Shortcuts: properties other than the subject that reveal the class, and their estimated effect on the score."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator
from scipy.stats import binom
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from phototransfer.audit import permutation
from phototransfer.audit.permutation import CANNOT_TELL, FOUND, NOTHING_FOUND, TOO_FEW, HistogramClassifier, Sample
from phototransfer.audit.properties import BACKGROUND, FILE_PROPERTIES, NAMES, measure_properties
from phototransfer.console import short_name, shorten_list
from phototransfer.report import Result, Skipped
from phototransfer.stats import format_score, format_share, wilson
from phototransfer.style import BLUE, VERMILLION, class_colours, show_photo

if TYPE_CHECKING:
    from phototransfer.network import Features

_ALPHA = 0.05
#: With thousands of photos, differences are significant that do not affect the score. A property is flagged only if its
#: balanced accuracy is a fifth above the chance level (0.60 for two classes: half a standard deviation) and 0.03 above
#: it (one class out of 30 that is recognised by it).
_TIMES_CHANCE, _ABOVE_CHANCE = 1.2, 0.03
#: The score depends on a property if it is lower by this much at least where the property points to a wrong class.
_MIN_EFFECT = 0.05
#: On fewer photos the effect cannot be estimated: with all 9 of 9 correct, an accuracy of 0.70 is still possible.
_MIN_PHOTOS = 10
_PERMUTATIONS = 999
_PLANTED = 100  # differences of one standard deviation, to measure how many are found
_MIN_POWER = 0.5  # with less, a real difference of that size is as likely missed as found
_ALL_THE_SAME = "cannot tell, all photos look the same"
_COMBINATION = "combination of all simple properties"
_ALL_NAMES = NAMES | {_COMBINATION: _COMBINATION}
_MAX_CLASSES = 8  # rows of a distribution that can be compared at a glance
_MAX_CATEGORIES = 6
_EXTREMES = 5  # photos beside a distribution
_LOG_SCALE = ("width", "height", "megapixels", "bytes_per_pixel")  # compared by their ratio
#: By whether the network sees a property.
_WHERE = {False: "Only in the files", True: "Visible to the network"}
#: By whether a property is flagged.
_MARKERS: dict[bool, dict[str, Any]] = {
    True: {"label": "flagged", "marker": "D", "color": VERMILLION},
    False: {"label": "not flagged", "marker": "o", "color": BLUE, "markerfacecolor": "white"},
}


@dataclass(frozen=True)
class Shortcuts(Result):
    """How well each property alone predicts the class, and whether the score depends on it.

    Attributes
    ----------
    tests : DataFrame
        One row per property, strongest first; p_corrected is for their number; NaN if it is the same for all photos.
    power : float
        Share of planted differences of one standard deviation between the classes that are found.
    effects : DataFrame
        One row per flagged property and one for all simple ones together: photos on which it points to a wrong class;
        correct, accuracy, low, high (95 % interval): score on these; effect: score on all photos minus that;
        relied_on: whether the effect is large enough and significant.
    scores : dict
        Balanced accuracies of all simple properties together and of the features of background and whole photos;
        "accuracy" is that of the latter.
    """

    name = "shortcuts"
    photos: pd.DataFrame
    measured: pd.DataFrame
    sample: Sample
    tests: pd.DataFrame
    power: float
    effects: pd.DataFrame
    scores: dict[str, float]

    @property
    def state(self) -> str:
        """FOUND, NOTHING_FOUND or CANNOT_TELL, for the properties that the network sees.

        The background counts only if the score depends on it: close to the subject, the border still shows some of it.
        """
        relied_on = self.effects.loc[self.effects["relied_on"], "property"]
        flagged = self.tests.loc[self.tests["flagged"] & self.tests["seen_by_network"], "property"]
        if ((flagged != BACKGROUND) | flagged.isin(relied_on)).any():
            return FOUND
        return NOTHING_FOUND if self.power >= _MIN_POWER and self._photos_differ else CANNOT_TELL

    @property
    def _photos_differ(self) -> bool:
        return bool(self.tests.loc[self.tests["seen_by_network"], "p_value"].notna().any())

    def verdict_line(self) -> str:
        """Return the result for what the network sees in a few words."""
        if self.state == CANNOT_TELL:
            return TOO_FEW if self._photos_differ else _ALL_THE_SAME
        if self.state == NOTHING_FOUND:
            return self.state
        effects = self.effects[self.effects["seen_by_network"]]
        if effects["relied_on"].any():
            return f"found, estimated effect on the score {effects.loc[effects['relied_on'], 'effect'].max():.2f}"
        if (effects["photos"] < _MIN_PHOTOS).any() or (effects["effect"] >= _MIN_EFFECT).any():
            return "found; too few photos contradict it to estimate the effect on the score"
        return "found, but no sign that the score depends on it"

    def summary(self) -> str:
        lines = [*map(self._describe, _WHERE), *self._describe_effects()]
        tested = self.tests["balanced_accuracy"].dropna()
        if len(tested) and (tested < self.sample.chance_level).mean() > 0.5:
            lines.append("Most properties are below the chance level: without a relation, scores scatter around it.")
        if self.sample.left_out:
            names = shorten_list([f"{label} ({count})" for label, count in self.sample.left_out.items()])
            lines.append(f"Not tested, because they have fewer than two different photos: {names}.")
        return "\n".join(lines)

    def advice(self) -> list[str]:
        flagged = self.tests.loc[self.tests["flagged"], "property"]
        surroundings = flagged.str.startswith("border") | (flagged == BACKGROUND)
        remedies = {}
        if not surroundings.all():
            names = shorten_list([NAMES[name] for name in flagged[~surroundings]], 3)
            remedies[names] = "take the photos of all classes in the same way (camera, light, size, file format)"
        if surroundings.any() and self.state == FOUND:
            remedies["their background"] = "collect photos of each class on the background of the others"
        return [f"The classes differ in {what}; no setting repairs that: {how}." for what, how in remedies.items()]

    def plot(self) -> Figure | None:
        """Return the balanced accuracy of each property alone, None if each is the same for all photos."""
        tested = self.tests.dropna(subset="balanced_accuracy").sort_values("balanced_accuracy")
        if tested.empty:
            return None
        panels = tested.groupby("seen_by_network")
        heights = list(panels.size() + 1)
        size = 7.5, 1.1 + 0.27 * sum(heights)
        figure, axes = plt.subplots(len(heights), figsize=size, sharex=True, squeeze=False, height_ratios=heights)
        chance_level = self.sample.chance_level
        handles = [Line2D([], [], linestyle="none", **style) for style in _MARKERS.values()]
        handles.append(Line2D([], [], linestyle=":", color="black", label=f"chance level {chance_level:.2f}"))
        for axis, (seen_by_network, rows) in zip(axes.flat, panels, strict=True):
            axis.axvline(chance_level, color="black", linestyle=":", linewidth=1.2)
            for place, row in enumerate(rows.itertuples()):
                score, style = row.balanced_accuracy, _MARKERS[row.flagged]
                axis.hlines(place, chance_level, score, style["color"], linewidth=1, alpha=0.6)
                axis.plot(score, place, clip_on=False, **style)
                end = max(score, chance_level), place
                axis.annotate(format_share(score), end, (8, 0), textcoords="offset points", va="center", fontsize=9)
            axis.set_yticks(range(len(rows)), rows["property"].map(NAMES))
            axis.set(ylim=(-0.6, len(rows) - 0.4), title=_WHERE[seen_by_network])
        axis.set(xlim=(0, 1), xlabel="balanced accuracy from this property alone")
        figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
        return figure

    def to_dict(self) -> dict[str, Any]:
        effects = self.effects.astype(object).where(self.effects.notna(), None)
        return {
            "properties": self.tests.dropna(subset="p_value").to_dict("records"),
            "power": self.power,
            "photos": len(self.sample.rows),
            "chance_level": self.sample.chance_level,
            "left_out": self.sample.left_out,
            "scores": self.scores,
            "effects": effects.to_dict("records"),
        }

    def _describe(self, seen_by_network: bool) -> str:
        where = _WHERE[seen_by_network]
        flagged = self.tests[self.tests["flagged"] & (self.tests["seen_by_network"] == seen_by_network)]
        simple = flagged[flagged["property"] != BACKGROUND]
        if seen_by_network and not self._photos_differ:
            return f"{where}: {_ALL_THE_SAME}."
        if flagged.empty:
            state = NOTHING_FOUND if self.power >= _MIN_POWER else TOO_FEW
            power = f"a difference of one standard deviation is found in {self.power:.0%} of simulations"
            return f"{where}: {state}. With {len(self.sample.rows)} photos, {power}."
        if simple.empty:
            return f"{where}: no simple property such as light, colour or sharpness predicts the class."
        names = [f"{NAMES[row.property]} {format_share(row.balanced_accuracy)}" for row in simple.itertuples()]
        level = f"(chance level {self.sample.chance_level:.2f})"
        return f"{where}: found. Balanced accuracy from one property alone {level}: {shorten_list(names, 3)}."

    def _describe_effects(self) -> list[str]:
        effects = self.effects[self.effects["seen_by_network"]]
        if len(effects) < 2:  # no property is flagged
            return []
        names = {"properties": "all simple properties together", "network": "the network's features"}
        names["background"] = "the same with the middle of the photos blanked (parts of the subject may remain)"
        scores = ", ".join(f"{name} {format_share(self.scores[key])}" for key, name in names.items())
        lines = [f"Balanced accuracy of ridge regression, out of fold: {scores}."]
        enough = effects[effects["photos"] >= _MIN_PHOTOS].sort_values(["relied_on", "effect"], ascending=False)
        for row in enough.head(1).itertuples():
            conclusion = "no sign that the score depends on it"
            if row.relied_on:
                conclusion = f"estimated effect on the score {row.effect:.2f}"
            elif row.effect >= _MIN_EFFECT:
                conclusion = "too few photos to tell whether the score depends on it"
            lines.append(
                f"Where the {_ALL_NAMES[row.property]} points to a wrong class, the network's features have "
                f"{format_score(row.correct, row.photos)}, on all photos {format_share(self.scores['accuracy'])}: "
                f"{conclusion}."
            )
        rare = effects[effects["photos"] < _MIN_PHOTOS]
        if len(rare):
            counts = ", ".join(f"{_ALL_NAMES[row.property]} ({row.photos})" for row in rare.itertuples())
            lines.append(f"No estimate, because it points to a wrong class on too few photos: {counts}.")
        return lines


@dataclass(frozen=True)
class PropertyDistributions(Result):
    """Properties by class, each beside the photos with the most extreme values; `shown` has rows of the tests."""

    name = "distributions"
    shortcuts: Shortcuts
    shown: pd.DataFrame

    def summary(self) -> str:
        names = " and ".join(NAMES[name] for name in self.shown["property"])
        return f"Distribution of {names} by class, and the photos with the most extreme values."

    def plot(self) -> Figure:
        """Return one row per property."""
        photos, chance_level = self.shortcuts.photos, format_share(self.shortcuts.sample.chance_level)
        labels = photos["label"].to_numpy()
        figure = plt.figure(figsize=(11, 2.9 * len(self.shown)))
        parts = np.atleast_1d(figure.subfigures(len(self.shown), 1))
        for part, row in zip(parts, self.shown.itertuples(), strict=True):
            column = self.shortcuts.measured[row.property]
            score = f"balanced accuracy {format_share(row.balanced_accuracy)}, chance level {chance_level}"
            title = f"{NAMES[row.property]} ({_WHERE[row.seen_by_network].lower()}): {score}"
            part.suptitle(title, x=0.01, ha="left", fontsize=11)
            axes = part.subplots(1, 1 + _EXTREMES, width_ratios=[4] + [1.45] * _EXTREMES)
            plot_column = _plot_numbers if pd.api.types.is_numeric_dtype(column) else _plot_categories
            plot_column(axes[0], column, labels)
            for axis in axes[1:]:
                axis.set_axis_off()
            for axis, place in zip(axes[1:], _most_extreme(column), strict=False):
                title = f"{short_name(labels[place], 16)}\n{_format_value(row.property, column.iloc[place])}"
                show_photo(axis, photos["path"].iloc[place], title)
        return figure

    def to_dict(self) -> dict[str, Any]:
        return {"properties": list(self.shown["property"])}


def check_shortcuts(photos: pd.DataFrame, features: "Features", settings: Mapping[str, Any]) -> Shortcuts | Skipped:
    """Test whether properties other than the subject predict the class, and estimate their effect on the score.

    Each property is tested alone, out of fold, against shuffled labels; of each group of near-duplicates the first
    photo counts. The score is that of ridge regression on the network's features, out of fold on the same photos: as
    good as logistic regression on the reference data sets, in a twentieth of the time.
    """
    if not settings["CHECKS"]:
        return Skipped("shortcuts", "Not checked (CHECKS = False).")
    sample = permutation.make_sample(photos, settings["SEED"])
    if sample is None:
        return Skipped("shortcuts", f"{TOO_FEW.capitalize()}: two classes need two different photos each.")
    measured = measure_properties(photos)
    with permutation.one_blas_thread():
        tests, power = _test_properties(measured, features.background(), sample, settings["SEED"])
        flagged = list(tests.loc[tests["flagged"], "property"])
        effects, scores = _estimate_effects(flagged, measured, features, sample)
    return Shortcuts(photos, measured, sample, tests, power, effects, scores)


def distributions(shortcuts: Shortcuts | Skipped) -> PropertyDistributions | Skipped:
    """Return the strongest flagged property of the files and of what the network sees, or the two of one kind."""
    if isinstance(shortcuts, Skipped):
        return Skipped(PropertyDistributions.name, "")
    simple = shortcuts.tests.query("flagged and property != @BACKGROUND")
    if simple.empty:
        return Skipped(PropertyDistributions.name, "")
    first = simple.drop_duplicates("seen_by_network")
    shown = pd.concat([first, simple]).drop_duplicates("property").head(2)
    return PropertyDistributions(shortcuts, shown)


def _test_properties(
    measured: pd.DataFrame, background: np.ndarray, sample: Sample, seed: int
) -> tuple[pd.DataFrame, float]:
    """Return `tests` and `power` of Shortcuts."""
    rows = measured.iloc[sample.rows]
    classifiers: dict[str, Any] = {name: HistogramClassifier(rows[name], sample) for name in rows}
    classifiers[BACKGROUND] = permutation.CentroidClassifier(background[sample.rows], sample)
    varying = [name for name in classifiers if not classifiers[name].constant]
    orders = permutation.shuffled_orders(len(sample.rows), _PERMUTATIONS, seed)
    probability = np.array([classifiers[name].statistics(orders) for name in varying]).reshape(-1, len(orders))
    p_value, p_corrected = permutation.westfall_young(probability)
    accuracy = [sample.balanced_accuracy(classifiers[name].credit()) for name in varying]
    columns = {"balanced_accuracy": accuracy, "p_value": p_value, "p_corrected": p_corrected}
    tests = pd.DataFrame(columns, index=varying).reindex(list(classifiers)).rename_axis("property").reset_index()
    tests["seen_by_network"] = ~tests["property"].isin(list(FILE_PROPERTIES))
    enough = max(_TIMES_CHANCE * sample.chance_level, sample.chance_level + _ABOVE_CHANCE)
    tests["flagged"] = (tests["p_corrected"] < _ALPHA) & (tests["balanced_accuracy"] >= enough)
    tests = tests.sort_values(["flagged", "balanced_accuracy"], ascending=False, kind="stable", ignore_index=True)
    return tests, _power(sample, probability, orders, seed)


def _power(sample: Sample, probability: np.ndarray, orders: np.ndarray, seed: int) -> float:
    """Return the share of planted differences that are found as one more property; probability: float (properties, p).

    Normal noise with means that are equally spaced by class, with a standard deviation of 1/2: two classes differ by 1.
    """
    rng = np.random.default_rng(seed)
    means = np.linspace(-1, 1, len(sample.classes))
    means /= 2 * means.std()
    noise = HistogramClassifier(pd.Series(rng.standard_normal(len(sample.rows))), sample).statistics(orders)
    highest = permutation.standardise(np.vstack([probability, noise]))[:, 1:].max(axis=0)
    needed = noise.mean() + noise.std() * np.quantile(highest, 1 - _ALPHA)
    planted = rng.standard_normal((_PLANTED, len(sample.rows)))
    planted += np.stack([rng.permutation(means)[sample.labels] for _ in range(_PLANTED)])
    detected = [HistogramClassifier(pd.Series(row), sample).statistics(orders[:1])[0] > needed for row in planted]
    return float(np.mean(detected))


def _estimate_effects(
    flagged: list[str], measured: pd.DataFrame, features: "Features", sample: Sample
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Return `effects` and `scores` of Shortcuts."""

    def predict(values: np.ndarray, alpha: float, *first: Any) -> np.ndarray:
        model = make_pipeline(*first, StandardScaler(), RidgeClassifier(alpha, class_weight="balanced"))
        return cross_val_predict(model, values[sample.rows], sample.labels, cv=PredefinedSplit(sample.folds))

    simple = measured[[name for name in measured if name not in FILE_PROPERTIES]].to_numpy(dtype=float)
    many = 2.0 * len(measured)  # many features need a stronger penalty than a few properties
    predicted = {"properties": predict(simple, 10.0, StandardScaler(), PolynomialFeatures(2, include_bias=False))}
    predicted |= {"background": predict(features.background(), many), "network": predict(features.plain, many)}
    misleading = {_COMBINATION: predicted["properties"] != sample.labels}
    for name in flagged:
        if name == BACKGROUND:
            misleading[name] = predicted["background"] != sample.labels
        else:
            misleading[name] = HistogramClassifier(measured[name].iloc[sample.rows], sample).credit() == 0
    correct = predicted["network"] == sample.labels
    effects = pd.DataFrame({"property": list(misleading)})
    effects["seen_by_network"] = ~effects["property"].isin(list(FILE_PROPERTIES))
    wrong_class = np.stack(list(misleading.values()))
    effects["photos"], effects["correct"] = wrong_class.sum(axis=1), (wrong_class & correct).sum(axis=1)
    effects["accuracy"] = effects["correct"] / effects["photos"]
    effects[["low", "high"]] = [wilson(row.correct, row.photos) or (np.nan, np.nan) for row in effects.itertuples()]
    effects["effect"] = correct.mean() - effects["accuracy"]
    p_value = binom.cdf(effects["correct"], effects["photos"], correct.mean())  # one-sided, against the accuracy on all
    effects["relied_on"] = (effects["effect"] >= _MIN_EFFECT) & (p_value < _ALPHA / len(effects))
    scores = {name: float(balanced_accuracy_score(sample.labels, labels)) for name, labels in predicted.items()}
    return effects, {**scores, "accuracy": float(correct.mean())}


def _most_extreme(column: pd.Series) -> list[int]:
    """Return the positions of the values farthest from the median, ascending; of text, one of each of the rarest."""
    values = column.reset_index(drop=True).dropna()
    if pd.api.types.is_numeric_dtype(column):
        distance = (values - values.median()).abs()
        return list(values[distance.nlargest(_EXTREMES).index].sort_values(kind="stable").index)
    return list(values.drop_duplicates().map(values.value_counts()).nsmallest(_EXTREMES).index)


def _plot_numbers(axis: Axes, column: pd.Series, labels: np.ndarray) -> None:
    """Plot every photo as a point in the row of its class, over a box of the middle half with its median."""
    rng, colours = np.random.default_rng(0), class_colours(sorted(set(labels)))
    classes = list(column.groupby(labels).median().sort_values(kind="stable", na_position="first").index)
    names, note = [], ""
    if len(classes) > _MAX_CLASSES:
        note = f" ({_MAX_CLASSES} of {len(classes)} classes: lowest and highest medians)"
        classes = [*classes[: _MAX_CLASSES // 2], *classes[-_MAX_CLASSES // 2 :]]
    separator = "\n" if len(classes) <= _MAX_CLASSES // 2 else " "
    boxes = []
    for place, label in enumerate(classes):
        values = column[labels == label]
        boxes.append(values.dropna())
        jitter = place + rng.uniform(-0.28, 0.28, len(boxes[-1]))
        axis.plot(boxes[-1], jitter, ".", color=colours[label], alpha=0.45, markersize=5)
        missing = f", {values.isna().mean():.0%} without" if values.isna().any() else ""
        names.append(f"{short_name(label, 16)}{separator}({len(values)}{missing})")
    style: dict[str, Any] = {"widths": 0.7, "whis": 0, "showfliers": False, "showcaps": False}
    style["medianprops"] = {"color": "black", "linewidth": 2}
    axis.boxplot(boxes, positions=range(len(boxes)), orientation="horizontal", **style)
    if column.name in _LOG_SCALE and column.max() > 10 * column.min():
        axis.set_xscale("log")
        axis.xaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), major_formatter="{x:g}", minor_formatter="")
    axis.set(yticks=range(len(names)), yticklabels=names, ylim=(-0.5, len(names) - 0.5))
    axis.set_xlabel(NAMES[column.name] + note)


def _plot_categories(axis: Axes, column: pd.Series, labels: np.ndarray) -> None:
    """Plot the share of each value in each class, one bar per class; grey, because colours stand for classes."""
    text = column.astype(object).where(column.notna(), "none given").astype(str)
    common = list(text.value_counts().index[:_MAX_CATEGORIES])
    text = text.where(text.isin(common), "others")
    classes = pd.Series(labels).value_counts().index[:_MAX_CLASSES]
    shares = pd.crosstab(labels, text.to_numpy(), normalize="index").loc[classes]
    shares = shares.reindex([*common, "others"], axis=1).dropna(axis=1).rename(short_name, axis=1)
    shades = [str(shade) for shade in np.linspace(0.2, 0.95, shares.shape[1])]
    shares = shares.rename(lambda label: short_name(label, 16))
    shares.plot.barh(stacked=True, ax=axis, color=shades, edgecolor="black", width=0.7)
    axis.set(xlim=(0, 1), xlabel=f"share of photos by {NAMES[column.name]}", ylabel="")
    axis.legend(fontsize=8, frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))


def _format_value(name: str, value: float | str) -> str:
    if isinstance(value, str):
        return short_name(value, 18)
    if name == "hour":
        return f"{pd.to_datetime(value, unit='h'):%H:%M}"
    if name == "date":
        return f"{pd.to_datetime(value, unit='D'):%Y-%m-%d}"
    return f"{value:.4g}"
