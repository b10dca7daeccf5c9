"""What is unusual about the pixels of the photos that are used: more than 8 bits, or nothing to be seen."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from phototransfer.console import plural, shorten_list
from phototransfer.photos.depth import Range, describe_depths
from phototransfer.photos.store import Store


@dataclass(frozen=True)
class Pixels:
    """Photos with more than 8 bits and blank photos."""

    ranges: dict[str, Range]  #: which values became 0–255, by kind: needed to prepare other photos in the same way
    deep: int  #: photos with more than 8 bits or floating-point values
    depths: list[str]  #: sentences about their ranges
    blank: list[str]  #: originals whose prepared photo has nearly one colour

    @classmethod
    def of(cls, photos: pd.DataFrame, store: Store) -> "Pixels":
        """Collect them for a table of photos with the columns original and blank."""
        depths = store.depths()
        used = [depths[original] for original in photos["original"] if original in depths]
        blank = sorted(photos.loc[photos["blank"].astype(bool), "original"])
        return cls(store.ranges(), len(used), describe_depths(used, len(photos)), blank)

    def lines(self) -> list[str]:
        """Return one sentence per finding."""
        lines = list(self.depths)
        if self.blank:
            verb = "is" if len(self.blank) == 1 else "are"
            lines.append(
                f"{plural(len(self.blank), 'photo')} {verb} blank or nearly so: {shorten_list(self.blank, 3)}."
            )
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers for metrics.json."""
        return {"ranges": self.ranges, "deep": self.deep, "blank": len(self.blank)}
