"""How far is it?"""

import sys
from collections.abc import Iterable

from tqdm import tqdm


def progress(what: str, total: int, items: Iterable | None = None, unit: str = "photo") -> tqdm:
    """A progress bar over `items`, or to `update` by hand; nothing is shown where there is nothing to do.

    Plain text on standard output rather than tqdm.auto's widget: a widget leaves an executed notebook, a report and
    the terminal of `make run` without its text.
    """
    return tqdm(items, desc=what, total=total, unit=f" {unit}s", file=sys.stdout, disable=not total, mininterval=0.5)
