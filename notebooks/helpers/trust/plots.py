"""What do shortcuts and shift look like? Data in, figure out."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from helpers.plots import BLUE, COLOURS, GREY, VERMILLION, short, show_photo
from helpers.trust.properties import BACKGROUND, NAMES
from helpers.trust.shift import Shift, extremes
from helpers.trust.shortcuts import Shortcuts
from helpers.trust.words import two_digits

MOST_CLASSES = 8  # rows of a distribution that can be compared at a glance
MOST_CATEGORIES = 6
EXTREMES = 5
_BY_FACTORS = ("width", "height", "megapixels", "bytes_per_pixel")  # twice as many is a step, wherever


def told_apart(found: Shortcuts) -> Figure:
    """How well each property alone tells the classes, those of the files above those the network could see.

    A filled diamond with its value is flagged, a hollow circle is not; what is the same for all photos is left out.
    """
    tested = found.table.dropna(subset="balanced_accuracy")
    parts = [
        (what, tested[tested["seen_by_network"] == seen].sort_values("balanced_accuracy"), colour)
        for what, seen, colour in (("In the files only", False, GREY), ("The network could see", True, BLUE))
    ]
    parts = [part for part in parts if len(part[1])]
    heights = [len(rows) + 1 for _, rows, _ in parts]
    figure, axes = plt.subplots(
        len(parts), 1, figsize=(7.5, 0.8 + 0.27 * sum(heights)), sharex=True, squeeze=False, height_ratios=heights
    )
    for axis, (what, rows, colour) in zip(axes[:, 0], parts, strict=True):
        axis.axvline(found.chance, color="black", linestyle=":", linewidth=1.2)
        for place, row in enumerate(rows.itertuples()):
            _draw_score(axis, place, row, colour, found.chance)
        axis.set(yticks=range(len(rows)), yticklabels=[NAMES.get(name, name) for name in rows["property"]])
        axis.set(ylim=(-0.6, len(rows) - 0.4), title=what)
    axes[-1, 0].set_xlabel("share of photos told right by it alone (◆: flagged; dotted line: guessing)")
    axes[-1, 0].set_xlim(0, 1.12)
    return figure


def _draw_score(axis: Axes, place: int, row: tuple, colour: str, chance: float) -> None:
    colour = VERMILLION if row.flagged else colour
    axis.plot([chance, row.balanced_accuracy], [place, place], color=colour, linewidth=1, alpha=0.6)
    axis.plot(
        row.balanced_accuracy,
        place,
        "D" if row.flagged else "o",
        color=colour,
        ms=6,
        mfc=colour if row.flagged else "white",
    )
    if row.flagged:
        axis.annotate(
            two_digits(row.balanced_accuracy),
            (row.balanced_accuracy, place),
            (8, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=colour,
            fontweight="bold",
        )


def worst_two(found: Shortcuts) -> list[str]:
    """The strongest property of the files and the strongest simple one that the network could see.

    Where only one kind is flagged, or has anything to show, its two strongest.
    """
    simple = found.table[(found.table["property"] != BACKGROUND) & found.table["balanced_accuracy"].notna()]
    some = simple[simple["flagged"]] if simple["flagged"].sum() >= 2 else simple
    first = some.drop_duplicates("seen_by_network")
    return list(pd.concat([first, some]).drop_duplicates("property")["property"].head(2))


def distributions(found: Shortcuts, properties: pd.DataFrame, photos: pd.DataFrame) -> Figure:
    """The `worst_two` properties by class, each beside the five photos on which it is most extreme."""
    names = worst_two(found)
    labels = photos["label"].to_numpy()
    figure = plt.figure(figsize=(11, 2.9 * len(names)))
    for part, name in zip(np.atleast_1d(figure.subfigures(len(names), 1)), names, strict=True):
        row = found.table.set_index("property").loc[name]
        verdict = "flagged" if row["flagged"] else "not enough to matter"
        part.suptitle(
            f"{NAMES.get(name, name)}: alone {two_digits(row['balanced_accuracy'])} right, guessing {found.chance:.2f} "
            f"({verdict}; {'the network could see it' if row['seen_by_network'] else 'in the files only'})",
            x=0.01,
            ha="left",
            fontsize=11,
        )
        axes = part.subplots(1, 1 + EXTREMES, width_ratios=[4, *[1.45] * EXTREMES])
        draw = _numbers if pd.api.types.is_numeric_dtype(properties[name]) else _categories
        draw(axes[0], properties[name], labels)
        most = most_extreme(properties[name], EXTREMES)
        for axis, place in zip(axes[1:], most, strict=False):
            value = properties[name].iloc[place]
            show_photo(axis, photos["path"].iloc[place], f"{short(labels[place], 16)}\n{_value(name, value)}")
        for axis in axes[1 + len(most) :]:
            axis.set_axis_off()
    return figure


def most_extreme(column: pd.Series, count: int) -> list[int]:
    """Places of the values farthest from the median, in ascending order; of text, one of each of the rarest."""
    if pd.api.types.is_numeric_dtype(column):
        far = (column - column.median()).abs().to_numpy(dtype=float)
        places = np.argsort(-np.nan_to_num(far, nan=-1), kind="stable")[: min(count, int(column.notna().sum()))]
        return sorted(places.tolist(), key=lambda place: column.iloc[place])
    text = pd.Series(column.to_numpy()).dropna()
    rare = text.drop_duplicates()
    return list(rare.iloc[np.argsort(rare.map(text.value_counts()), kind="stable")].index[:count])


def _numbers(axis: Axes, column: pd.Series, labels: np.ndarray) -> None:
    """Every photo a point in the row of its class, over a box of the middle half with its median."""
    chance = np.random.default_rng(0)
    shown = _shown_classes(column, labels)
    for place, label in enumerate(shown):
        values = column[labels == label]
        known = values.dropna()
        colour = COLOURS[place % len(COLOURS)]
        axis.plot(known, place + chance.uniform(-0.28, 0.28, len(known)), ".", color=colour, alpha=0.45, ms=5)
        axis.boxplot(
            [known],
            positions=[place],
            orientation="horizontal",
            widths=0.7,
            showfliers=False,
            whis=0,
            showcaps=False,
            medianprops={"color": "black", "linewidth": 2},
            boxprops={"linewidth": 1.2},
        )
    known = column.dropna()
    if column.name in _BY_FACTORS and len(known) and known.max() > 10 * known.min():
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(ScalarFormatter())
        axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set(yticks=range(len(shown)), ylim=(-0.5, len(shown) - 0.5), xlabel=NAMES.get(column.name, column.name))
    axis.set_yticklabels([_class_name(label, column[labels == label], len(shown)) for label in shown])


def _categories(axis: Axes, column: pd.Series, labels: np.ndarray) -> None:
    """The share of each value in each class, one bar a class."""
    text = column.astype(object).where(column.notna(), "none given").astype(str)
    common = list(text.value_counts().index[:MOST_CATEGORIES])
    text = text.where(text.isin(common), "others")
    shown = list(pd.Series(labels).value_counts().index[:MOST_CLASSES])
    shares = pd.crosstab(labels, text.to_numpy(), normalize="index").loc[shown]
    left = np.zeros(len(shown))
    for number, value in enumerate([*common, *(["others"] if "others" in shares else [])]):
        axis.barh(range(len(shown)), shares[value], left=left, label=short(value), color=COLOURS[number % len(COLOURS)])
        left += shares[value].to_numpy()
    axis.set(
        yticks=range(len(shown)),
        yticklabels=[short(label, 16) for label in shown],
        xlabel=f"share of photos, by {NAMES.get(column.name, column.name)}",
    )
    axis.legend(fontsize=8, frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))


def _shown_classes(column: pd.Series, labels: np.ndarray) -> list[str]:
    """All classes in the order of their medians; where there are many, those at both ends."""
    medians = column.groupby(labels).median().sort_values(kind="stable", na_position="first").index
    half = MOST_CLASSES // 2
    return list(medians) if len(medians) <= MOST_CLASSES else [*medians[:half], *medians[-half:]]


def _class_name(label: str, values: pd.Series, of: int) -> str:
    missing = values.isna().mean()
    count = f"({len(values)}{'' if of > 4 else ' photos'}" + (f", {missing:.0%} without)" if missing else ")")
    return f"{short(label, 16)}{' ' if of > 4 else chr(10)}{count}"


def _value(name: str, value: float | str) -> str:
    if isinstance(value, str):
        return short(value, 18)
    if name == "hour":
        return f"{int(value)}:{round(value % 1 * 60):02d}"
    if name == "date":
        return f"{pd.Timestamp(0) + pd.Timedelta(days=value):%Y-%m-%d}"
    return f"{value:.4g}"


def shift(found: Shift) -> Figure:
    """How well each split is told from train, beside what dealing the photos at random gives in 95 % of cases."""
    table = found.table.dropna(subset="auc").iloc[::-1]
    figure, axis = plt.subplots(figsize=(7.5, 1.0 + 0.55 * len(table)))
    for place, row in enumerate(table.itertuples()):
        told = row.state == "found"
        axis.plot([row.low, row.high], [place, place], color=GREY, linewidth=9, alpha=0.35, solid_capstyle="butt")
        axis.plot(row.auc, place, "D" if told else "o", color=VERMILLION if told else BLUE, ms=8)
        axis.annotate(
            f"{row.auc:.2f}: {row.state}",
            (max(row.auc, row.high), place),
            (10, 0),
            textcoords="offset points",
            va="center",
        )
    axis.axvline(0.5, color="black", linestyle=":", linewidth=1.2)
    names = [f"{row.split}, {row.photos} photos" for row in table.itertuples()]
    axis.set(
        yticks=range(len(table)),
        yticklabels=names,
        ylim=(-0.6, len(table) - 0.4),
        xlim=(0, 1.3),
        xticks=np.linspace(0, 1, 6),
    )
    axis.set(
        title="Told from training photos of the same class",
        xlabel="how often the right one of a pair is picked (AUC); dotted line: a coin; grey: chance",
    )
    return figure


def least_alike(found: Shift, photos: pd.DataFrame, split: str, count: int = 6) -> Figure:
    """Above, the photos of `split` that look least like training; below, the training photos least like `split`."""
    rows = extremes(found, photos, split, count)
    figure, axes = plt.subplots(2, count, figsize=(count * 1.75, 4.6), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for line, some in zip(axes, rows, strict=True):
        for axis, photo in zip(line, some.itertuples(), strict=False):
            show_photo(axis, photo.path, f"{photo.split}\n{short(photo.label)}")
    state = found.table.set_index("split").loc[split, "state"]
    fair = "" if state == "found" else " (no shift was found: chance decides much of this)"
    figure.suptitle(
        f"Above: {split} photos least like training. Below: training photos least like {split}{fair}.", fontsize=10
    )
    return figure
