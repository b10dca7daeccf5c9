"""The figures of a run: drawn, saved and shown, where nobody watches only when the verdict is known."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from phototransfer import files
from phototransfer.paths import NARROW

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image


class HasFigure(Protocol):
    """What of a result is used here."""

    name: str

    def plot(self) -> "Figure | None": ...

    def plot_narrow(self) -> "Figure | None": ...

    def alt(self) -> str: ...


class Figures:
    """The figures of one run.

    Parameters
    ----------
    delayed : bool
        Leave the places of the figures empty until `draw_waiting`: for a run whose screen shows text only. The place of
        a result that has no figure stays empty.
    """

    def __init__(self, *, delayed: bool) -> None:
        self._delayed = delayed
        self._waiting: list[tuple[HasFigure, Callable[..., Any]]] = []

    def show(self, result: HasFigure, folder: Path) -> None:
        """Draw a result's figure, if it has one, save it in a folder and display it, or leave a place for it."""
        from IPython.display import display

        if self._delayed:
            self._waiting.append((result, display({}, raw=True, display_id=True).update))
        else:
            _draw(result, folder, display)

    def draw_waiting(self, folder: Path) -> None:
        """Draw the figures that wait, in their places, and save them in a folder. Later ones do not wait."""
        waiting, self._waiting, self._delayed = self._waiting, [], False
        for result, show in waiting:
            _draw(result, folder, show)


def _draw(result: HasFigure, folder: Path, show: Callable[..., Any]) -> None:
    from IPython.display import Image

    figure = result.plot()
    if figure is None:
        return
    jpeg = io.BytesIO()
    # Photos as PNG would make a notebook of many megabytes.
    _save(figure, folder / f"{result.name}.png").save(jpeg, "JPEG", quality=88)
    metadata = {"image/jpeg": {"alt": result.alt(), "figure": result.name}}
    show(Image(jpeg.getvalue(), format="jpeg"), metadata=metadata)
    narrow = folder / f"{result.name}{NARROW}.png"
    narrow.unlink(missing_ok=True)
    if (narrow_figure := result.plot_narrow()) is not None:
        _save(narrow_figure, narrow)


def _save(figure: "Figure", path: Path) -> "Image":
    """Draw a figure, write it as PNG, close it, or Jupyter would draw it once more, and return the picture in RGB."""
    import matplotlib.pyplot as plt
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # `savefig` draws twice: the first time for the layout only
    plt.close(figure)
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    with files.atomic_write(path) as partial:
        picture.save(partial, "PNG", compress_level=1)  # the default takes three times as long
    return picture
