"""Photos: from a folder in any shape to the table of photos and the folders that Keras reads."""

import pandas as pd

from phototransfer.photos.decode import read_photo
from phototransfer.photos.prepare import Prepared, prepare
from phototransfer.photos.relabel import Corrections
from phototransfer.photos.sources import Source, find_source

__all__ = ["Corrections", "Prepared", "Source", "find_source", "prepare", "read_photo"]

# Where pyarrow is installed, pandas would keep texts in its tables, which take no file name that is not UTF-8.
pd.set_option("mode.string_storage", "python")
