"""What do leaks look like? Data in, figure out."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.plots import GREY, ORANGE, VERMILLION, short, show_photo
from helpers.trust.leaks import COPY, SCENE

_KINDS = {  # of a pair: colour, marker, and what it is called
    "unrelated": (GREY, ".", "another photo"),
    "burst": (ORANGE, "s", "another exposure of the same scene"),
    "copy": (VERMILLION, "D", "the same picture"),
}
_ROW = 3  # pairs beside each other


def similarities(photos: pd.DataFrame, compared: pd.DataFrame, pairs: pd.DataFrame) -> Figure:
    """Why the thresholds lie where they do.

    Left, how similar each photo's features are to those of its nearest photo in another split: copies and lookalikes
    overlap, so that no threshold on it would do. Right, the candidates laid over each other: the two thresholds lie in
    the gaps; pairs that a coarser look had told apart are not shown. compared: from `copies.compare`; pairs: from
    `leaks.find_leaks`.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    kinds = compared[["a", "b"]].merge(pairs[["a", "b", "kind"]], how="left")["kind"].fillna("unrelated")
    judged = compared.assign(kind=kinds.to_numpy())
    _nearest_elsewhere(left, photos["split"].to_numpy(), judged)
    _laid_over(right, judged.dropna(subset=["agreement", "poorest"]))
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def _nearest_elsewhere(axis: Axes, split: np.ndarray, judged: pd.DataFrame) -> None:
    across = judged[split[judged["a"]] != split[judged["b"]]]
    ends = pd.concat([across.assign(photo=across[end]) for end in ("a", "b")])
    nearest = ends.sort_values("cosine").drop_duplicates("photo", keep="last")
    edges = np.linspace(min(nearest["cosine"].min(), 0.9), 1, 41) if len(nearest) else np.linspace(0, 1, 41)
    for kind, (colour, _, name) in _KINDS.items():
        values = nearest.loc[nearest["kind"] == kind, "cosine"].clip(upper=1)
        counts, _ = np.histogram(values, edges)
        axis.stairs(
            np.where(counts, counts, np.nan),
            edges,
            fill=True,
            color=colour,
            alpha=0.75,
            label=f"{name} ({len(values)})",
        )
    axis.set_xlim(edges[0], edges[-1])
    axis.set_yscale("log")
    axis.set(title="Seen by the network", xlabel="similarity to the nearest photo of another split, which is …")
    axis.set(ylabel="photos", ylim=(0.6, None))


def _laid_over(axis: Axes, judged: pd.DataFrame) -> None:
    for kind, (colour, marker, _) in _KINDS.items():
        rows = judged[judged["kind"] == kind]
        axis.plot(rows["agreement"], rows["poorest"], marker, color=colour, markersize=5, alpha=0.7)
    axis.axvline(SCENE, color="black", linestyle=":", linewidth=1.2)
    axis.plot([SCENE, 1], [COPY, COPY], color="black", linestyle=":", linewidth=1.2)
    # No point lies there: the worst parts of two photos do not agree better than the two photos.
    note = {"fontsize": 9, "va": "center", "ha": "right", "in_layout": False}
    axis.text(SCENE - 0.02, COPY, f"a copy from {COPY:.2f} ↑", **note)
    axis.text(SCENE - 0.02, COPY - 0.14, f"one scene from {SCENE:.2f} →", **note)
    axis.set(title="Laid over each other", xlim=(0, 1.02), ylim=(-1, 1.05))
    axis.set(xlabel="agreement of the two photos", ylabel="agreement of the worst tenth of their parts")


def pairs_side_by_side(photos: pd.DataFrame, pairs: pd.DataFrame, most: int = 12) -> Figure | None:
    """Pairs next to each other, in the order of the table; None if there are none. A label error is written in red."""
    some = pairs.head(most)
    if some.empty:
        return None
    rows = -(-len(some) // _ROW)
    widths = [1, 1, 0.15] * _ROW
    figure, axes = plt.subplots(
        rows, len(widths), figsize=(10.5, rows * 2.3), squeeze=False, gridspec_kw={"width_ratios": widths}
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for number, pair in enumerate(some.itertuples()):
        row, place = divmod(number, _ROW)
        left, right = axes[row, 3 * place : 3 * place + 2]
        kind = "copy" if pair.kind == "copy" else "same scene"
        how = "" if pair.how == "same" else f", {pair.how}"
        _show(left, photos.iloc[pair.a], f"{kind}{how}", pair.same_label)
        _show(right, photos.iloc[pair.b], f"similarity {pair.similarity:.2f}", pair.same_label)
    return figure


def _show(axis: Axes, photo: pd.Series, told: str, same_label: bool) -> None:
    name = short(Path(photo["original"]).name, 18)
    show_photo(axis, photo["path"], f"{told}\n{photo['split']}: {short(photo['label'], 12)}\n{name}")
    if not same_label:
        axis.title.set_color(VERMILLION)
