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
from scipy.stats import binom, norm
from sklearn.linear_model import RidgeClassifierCV
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from phototransfer.audit import permutation
from phototransfer.audit.permutation import ALPHA, CLEAR_ALPHA, HistogramClassifier, Sample
from phototransfer.audit.properties import BACKGROUND, FILE_PROPERTIES, NAMES, measure_properties
from phototransfer.console import short_name, shorten_list
from phototransfer.finding import BORDERLINE, CANNOT_TELL, DOUBT, FOUND, NOTE, NOTHING_FOUND, SERIOUS, Finding
from phototransfer.photos.sampling import describe_sample, sample_photos
from phototransfer.report import Result, Skipped
from phototransfer.stats import format_score, format_share, wilson
from phototransfer.style import BLUE, ORANGE, VERMILLION, class_colours, show_photo

if TYPE_CHECKING:
    from phototransfer.network import Features

#: With thousands of photos, differences are significant that do not affect the score. A property is flagged only if its
#: balanced accuracy is a fifth above the chance level (0.60 for two classes: half a standard deviation) and 0.03 above
#: it (one class out of 30 that is recognised by it). Up to _CLEAR_MARGIN above that it is borderline.
_TIMES_CHANCE, _ABOVE_CHANCE, _CLEAR_MARGIN = 1.2, 0.03, 0.02
#: The score depends on a property if it is lower by this much at least where the property points to a wrong class.
_MIN_EFFECT = 0.05
#: On fewer photos the effect cannot be estimated: with all 9 of 9 correct, an accuracy of 0.70 is still possible.
_MIN_PHOTOS = 10
_PERMUTATIONS = 999
_PLANTED = 100  # differences of one standard deviation, to measure how many are found
_MIN_POWER = 0.5  # with less, a real difference of that size is as likely missed as found
_COMBINATION = "combination of all simple properties"
_ALL_NAMES = NAMES | {_COMBINATION: _COMBINATION}
_MAX_CLASSES = 8  # rows of a distribution that can be compared at a glance
_MAX_CATEGORIES = 6
_EXTREMES = 5  # photos beside a distribution
_LOG_SCALE = ("width", "height", "megapixels", "bytes_per_pixel")  # compared by their ratio
#: By whether the network sees a property.
_WHERE = {False: "Only in the files", True: "Visible to the network"}
_MARKERS: dict[str, dict[str, Any]] = {
    FOUND: {"marker": "D", "color": VERMILLION},
    BORDERLINE: {"marker": "s", "color": ORANGE},
    NOTHING_FOUND: {"marker": "o", "color": BLUE, "markerfacecolor": "white"},
}
#: By question: what reveals the class, what the model may look at instead of the subject, and what to do about it.
_WORDS = {
    "shortcuts": (
        "The photos of the classes also differ in {names}",
        "light, colour or sharpness",
        "Take the photos of all classes in the same way, so that they do not differ in {names}.",
    ),
    "background": (
        "The background alone gives the class away in {score}",
        "the background",
        "Collect photos of each class on the background of the others.",
    ),
    "files": (
        "The files of the classes differ in {names}, so the photos may come from different sources",
        "traces of the source",
        "Use photos of all classes from the same source, so that their files do not differ in {names}.",
    ),
}
#: Whether the score depends on a property.
_DEPENDS, _MAY_DEPEND, _NO_SIGN, _NO_ESTIMATE = "yes", "borderline", "no sign", "cannot tell"


@dataclass(frozen=True)
class Shortcuts(Result):
    """How well each property alone predicts the class, and whether the score depends on it.

    Attributes
    ----------
    tests : DataFrame
        One row per property, strongest first; p_corrected is for their number; NaN if it is the same for all photos.
        state is FOUND, BORDERLINE or NOTHING_FOUND; flagged: whether it is one of the first two.
    power : float
        Share of planted differences of one standard deviation between the classes that are flagged.
    effects : DataFrame
        One row per flagged property and one for all simple ones together: photos on which it points to a wrong class;
        correct, accuracy, low, high (95 % interval): score on these; effect: score on all photos minus that;
        depends: whether the score depends on it ("yes", "borderline", "no sign" or "cannot tell").
    scores : dict
        Balanced accuracies of all simple properties together and of the features of background and whole photos;
        "accuracy" is that of the latter.
    network_p_value : float
        That the features of the whole photos do no better than guessing.
    all_photos : int
        Photos of the run; `photos` are a random sample of very many.
    """

    name = "shortcuts"
    photos: pd.DataFrame
    measured: pd.DataFrame
    sample: Sample
    tests: pd.DataFrame
    power: float
    effects: pd.DataFrame
    scores: dict[str, float]
    network_p_value: float
    all_photos: int = 0

    def findings(self) -> dict[str, Finding]:
        is_background, seen_by_network = self.tests["property"] == BACKGROUND, self.tests["seen_by_network"]
        parts = {"shortcuts": seen_by_network & ~is_background, "background": is_background, "files": ~seen_by_network}
        return {question: self._finding(question, self.tests[rows]) for question, rows in parts.items()}

    def _finding(self, question: str, tests: pd.DataFrame) -> Finding:
        flagged = tests[tests["flagged"]]
        if flagged.empty:
            return self._without_flags(tests)
        where, looks_at, remedy = _WORDS[question]
        score, guessing = flagged["balanced_accuracy"].iloc[0], self.sample.chance_level
        words = {
            "names": shorten_list([NAMES[name] for name in flagged["property"]], 3),
            "score": f"{100 * score:.0f} of 100 photos (guessing: {100 * guessing:.0f})",
        }
        what = f"{format_share(score)} from the background alone" if question == "background" else _with_scores(flagged)
        return self._obstacle(
            flagged, what=what, where=where.format(**words), looks_at=looks_at, remedy=remedy.format(**words)
        )

    def _without_flags(self, tests: pd.DataFrame) -> Finding:
        if tests["p_value"].isna().all():
            return Finding(CANNOT_TELL, f"{CANNOT_TELL}, it is the same in all photos")
        if self.power < _MIN_POWER:
            return Finding(CANNOT_TELL, f"{CANNOT_TELL}, too few photos")
        return Finding(NOTHING_FOUND, NOTHING_FOUND)

    def _obstacle(self, flagged: pd.DataFrame, *, what: str, where: str, looks_at: str, remedy: str) -> Finding:
        """Return the finding on flagged properties: what they are, and whether the score depends on them."""
        state = FOUND if (flagged["state"] == FOUND).any() else BORDERLINE
        seen_by_network = bool(flagged["seen_by_network"].iloc[0])
        properties = [*flagged["property"]]
        if seen_by_network and properties != [BACKGROUND]:
            properties.append(_COMBINATION)
        effects = self.effects[self.effects["property"].isin(properties)]
        answer = next(
            each for each in (_DEPENDS, _MAY_DEPEND, _NO_ESTIMATE, _NO_SIGN) if each in set(effects["depends"])
        )
        strongest = effects[effects["depends"] == answer].sort_values("effect", na_position="first").iloc[-1]
        effect = strongest["effect"]
        clause, severity, consequence = {
            _DEPENDS: (
                f"estimated effect on the score {effect:.2f}",
                SERIOUS,
                f", and the model may look at {looks_at} instead of the subject. Where that points to another "
                f"class, only {strongest['correct']} of {strongest['photos']} photos are classified correctly, "
                f"{100 * strongest['accuracy']:.0f} of 100 (all photos: {100 * self.scores['accuracy']:.0f})",
            ),
            _MAY_DEPEND: (
                "the score may depend on it",
                DOUBT if effect >= _MIN_EFFECT else NOTE,
                ", and the score may depend on it",
            ),
            _NO_ESTIMATE: (
                "too few photos contradict it to estimate the effect on the score",
                DOUBT,
                ", and too few photos contradict it to tell whether the score depends on it",
            ),
            _NO_SIGN: (
                "no sign that the score depends on it",
                NOTE,
                ", but there is no sign that the score depends on it",
            ),
        }[answer]
        if self.network_p_value >= ALPHA:
            clause, consequence = "the network does no better than guessing", ""
        elif not seen_by_network and answer == _NO_ESTIMATE:
            clause = "a risk if the network can see it"
        return Finding(
            state,
            f"{state}: {what} (accuracy; guessing: {self.sample.chance_level:.2f}); {clause}",
            severity=severity if state == FOUND else min(severity, DOUBT),
            obstacle=f"{where}{', perhaps by chance' if state == BORDERLINE else ''}{consequence}.",
            remedy=remedy,
            effect=float(effect) if answer == _DEPENDS else 0.0,
        )

    def summary(self) -> str:
        lines = self._describe_effects()
        power = (
            f"A difference of one standard deviation between the classes is found in {self.power:.0%} of simulations"
        )
        lines.append(f"{power} with {len(self.sample.rows)} photos (below {_MIN_POWER:.0%}: cannot tell).")
        tested = self.tests["balanced_accuracy"].dropna()
        if len(tested) and (tested < self.sample.chance_level).mean() > 0.5:
            lines.append("Most properties are below the chance level: without a relation, scores scatter around it.")
        if sample := describe_sample(len(self.photos), self.all_photos):
            lines.append(sample)
        if self.sample.left_out:
            names = shorten_list([f"{label} ({count})" for label, count in self.sample.left_out.items()])
            lines.append(f"Not tested, because they have fewer than two different photos: {names}.")
        return "\n".join(lines)

    def advice(self) -> list[str]:
        return [finding.remedy for finding in self.findings().values() if finding.state == FOUND]

    def alt(self) -> str:
        tested = self.tests.dropna(subset="balanced_accuracy").sort_values("balanced_accuracy", ascending=False)
        rows = [
            f"{NAMES[row.property]} {format_share(row.balanced_accuracy)} ({row.state})" for row in tested.itertuples()
        ]
        chance_level = f"chance level {self.sample.chance_level:.2f}"
        return f"Balanced accuracy from one property alone, {chance_level}: {'; '.join(rows)}."

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
        handles = [
            Line2D([], [], linestyle="none", label=state, **style)
            for state, style in _MARKERS.items()
            if state in set(tested["state"])
        ]
        handles.append(Line2D([], [], linestyle=":", color="black", label=f"chance level {chance_level:.2f}"))
        for axis, (seen_by_network, rows) in zip(axes.flat, panels, strict=True):
            axis.axvline(chance_level, color="black", linestyle=":", linewidth=1.2)
            for place, row in enumerate(rows.itertuples()):
                score, style = row.balanced_accuracy, _MARKERS[row.state]
                axis.hlines(place, chance_level, score, style["color"], linewidth=1, alpha=0.6)
                axis.plot(score, place, clip_on=False, **style)
                end = max(score, chance_level), place
                axis.annotate(format_share(score), end, (8, 0), textcoords="offset points", va="center", fontsize=9)
            axis.set_yticks(range(len(rows)), rows["property"].map(NAMES))
            axis.set(ylim=(-0.6, len(rows) - 0.4), title=_WHERE[seen_by_network])
        axis.set(xlim=(0, 1), xlabel="balanced accuracy from this property alone")
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
        return figure

    def to_dict(self) -> dict[str, Any]:
        effects = self.effects.astype(object).where(self.effects.notna(), None)
        return {
            "properties": self.tests.dropna(subset="p_value").to_dict("records"),
            "power": self.power,
            "photos": len(self.sample.rows),
            "sampled_from": self.all_photos,
            "chance_level": self.sample.chance_level,
            "left_out": self.sample.left_out,
            "scores": self.scores,
            "network_p_value": self.network_p_value,
            "effects": effects.to_dict("records"),
        }

    def _describe_effects(self) -> list[str]:
        effects = self.effects[self.effects["seen_by_network"]]
        if len(effects) < 2:  # no property is flagged
            return []
        names = {"properties": "all simple properties together", "network": "the network's features"}
        names["background"] = "the same with the middle of the photos blanked (parts of the subject may remain)"
        scores = ", ".join(f"{name} {format_share(self.scores[key])}" for key, name in names.items())
        lines = [f"Balanced accuracy of ridge regression, each photo predicted from all others: {scores}."]
        enough = effects[effects["photos"] >= _MIN_PHOTOS].sort_values("effect", ascending=False, kind="stable")
        enough = enough.sort_values("depends", key=lambda column: column != _DEPENDS, kind="stable")
        for row in enough.head(1).itertuples():
            lines.append(
                f"Where the {_ALL_NAMES[row.property]} points to a wrong class, the network's features have "
                f"{format_score(row.correct, row.photos)}, on all photos {format_share(self.scores['accuracy'])}."
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

    Each property is tested alone, each photo predicted from all others, against shuffled labels; of each group of
    near-duplicates the first photo counts, and of very many photos a random sample. The score is that of ridge
    regression on the network's features, on the same photos in the same way: as good as logistic regression on the
    reference data sets, in a twentieth of the time.
    """
    if not settings["CHECKS"]:
        return Skipped("shortcuts", "Not checked (CHECKS = False).")
    all_photos, rows = len(photos), sample_photos(photos, settings["SEED"])
    if rows is not None:
        photos, features = photos.iloc[rows].reset_index(drop=True), features.take(rows)
    sample = permutation.make_sample(photos)
    if sample is None:
        return Skipped("shortcuts", f"{CANNOT_TELL.capitalize()}, too few photos: two classes need two different ones.")
    measured = measure_properties(photos, features.results)
    with permutation.one_blas_thread():
        tests, power = _test_properties(measured, np.asarray(features.background()), sample, settings["SEED"])
        flagged = list(tests.loc[tests["flagged"], "property"])
        effects, scores, network_p_value = _estimate_effects(flagged, measured, features, sample)
    return Shortcuts(photos, measured, sample, tests, power, effects, scores, network_p_value, all_photos)


def distributions(shortcuts: Shortcuts | Skipped) -> PropertyDistributions | Skipped:
    """Return the strongest flagged property of the files and of what the network sees, or two of one kind."""
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
    tests["flagged"] = (tests["p_corrected"] < ALPHA) & (tests["balanced_accuracy"] >= enough)
    clear = (tests["p_corrected"] < CLEAR_ALPHA) & (tests["balanced_accuracy"] >= enough + _CLEAR_MARGIN)
    tests["state"] = np.select([clear, tests["flagged"]], [FOUND, BORDERLINE], NOTHING_FOUND)
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
    needed = noise.mean() + noise.std() * np.quantile(highest, 1 - ALPHA)
    planted = rng.standard_normal((_PLANTED, len(sample.rows)))
    planted += np.stack([rng.permutation(means)[sample.labels] for _ in range(_PLANTED)])
    detected = [HistogramClassifier(pd.Series(row), sample).statistics(orders[:1])[0] > needed for row in planted]
    return float(np.mean(detected))


def _estimate_effects(
    flagged: list[str], measured: pd.DataFrame, features: "Features", sample: Sample
) -> tuple[pd.DataFrame, dict[str, float], float]:
    """Return `effects`, `scores` and `network_p_value` of Shortcuts."""
    predicted = _predict_from_others(measured, features, sample)
    misleading = {_COMBINATION: predicted["properties"] != sample.labels}
    for name in flagged:
        if name == BACKGROUND:
            misleading[name] = predicted["background"] != sample.labels
        else:
            misleading[name] = HistogramClassifier(measured[name].iloc[sample.rows], sample).credit() == 0
    correct = predicted["network"] == sample.labels
    network_p_value = _p_value_of_guessing(correct, sample)
    effects = pd.DataFrame({"property": list(misleading)})
    effects["seen_by_network"] = ~effects["property"].isin(list(FILE_PROPERTIES))
    wrong_class = np.stack(list(misleading.values()))
    effects["photos"], effects["correct"] = wrong_class.sum(axis=1), (wrong_class & correct).sum(axis=1)
    effects["accuracy"] = effects["correct"] / effects["photos"]
    effects[["low", "high"]] = [wilson(row.correct, row.photos) or (np.nan, np.nan) for row in effects.itertuples()]
    effects["effect"] = correct.mean() - effects["accuracy"]
    # One-sided, against the accuracy on all photos; Bonferroni.
    p_value = len(effects) * binom.cdf(effects["correct"], effects["photos"], correct.mean())
    effect, guessing = effects["effect"], np.full(len(effects), network_p_value >= ALPHA)
    conditions = [
        guessing,  # a score that is no better than guessing gains nothing from any property
        (p_value < CLEAR_ALPHA) & (effect >= _MIN_EFFECT + _CLEAR_MARGIN),
        (p_value < ALPHA) & (effect >= _MIN_EFFECT - _CLEAR_MARGIN),
        (effects["photos"] >= _MIN_PHOTOS) & (effect < _MIN_EFFECT),
    ]
    effects["depends"] = np.select(conditions, [_NO_SIGN, _DEPENDS, _MAY_DEPEND, _NO_SIGN], _NO_ESTIMATE)
    scores = {name: sample.balanced_accuracy(labels == sample.labels) for name, labels in predicted.items()}
    return effects, {**scores, "accuracy": float(correct.mean())}, network_p_value


def _predict_from_others(measured: pd.DataFrame, features: "Features", sample: Sample) -> dict[str, np.ndarray]:
    """Return the class of each photo by ridge regression on all others, int (n,), from several kinds of features.

    Leave-one-out predictions come from one fit (T. Hastie, R. Tibshirani and J. Friedman, "The Elements of Statistical
    Learning", 2nd edition, section 7.10), and unlike folds they do not depend on a seed.
    """

    def predict(values: np.ndarray, alpha: float) -> np.ndarray:
        model = RidgeClassifierCV([alpha], class_weight="balanced", store_cv_results=True, scoring="accuracy")
        scores = model.fit(StandardScaler().fit_transform(values[sample.rows]), sample.labels).cv_results_[:, :, 0]
        return scores.argmax(axis=1) if len(sample.classes) > 2 else (scores[:, 0] > 0).astype(int)

    simple = measured[[name for name in measured if name not in FILE_PROPERTIES]].to_numpy(dtype=float)
    squares = PolynomialFeatures(2, include_bias=False).fit_transform(StandardScaler().fit_transform(simple))
    many = 2.0 * len(measured)  # many features need a stronger penalty than a few properties
    return {
        "properties": predict(squares, 10.0),
        "background": predict(np.asarray(features.background()), many),
        "network": predict(np.asarray(features.plain), many),
    }


def _p_value_of_guessing(correct: np.ndarray, sample: Sample) -> float:
    """Return the one-sided p-value of the balanced accuracy if each photo is guessed; normal approximation."""
    chance_level = sample.chance_level
    variance = (chance_level * (1 - chance_level) / sample.counts).sum() / len(sample.counts) ** 2
    return float(norm.sf((sample.balanced_accuracy(correct) - chance_level) / np.sqrt(variance)))


def _with_scores(flagged: pd.DataFrame) -> str:
    names = [f"{NAMES[row.property]} {format_share(row.balanced_accuracy)}" for row in flagged.itertuples()]
    return shorten_list(names, 2)


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
