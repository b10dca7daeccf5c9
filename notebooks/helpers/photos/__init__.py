"""From a folder of photos, however it is kept, to the prepared tree and the table of photos."""

from helpers.photos.picture import read_photo
from helpers.photos.prepare import Prepared, prepare
from helpers.photos.sources import Source, fetch

__all__ = ["Prepared", "Source", "fetch", "prepare", "read_photo"]
