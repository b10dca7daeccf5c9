"""Which folder in models/ is a run's own? Asked before anything else, so nothing slow is imported here."""

from datetime import datetime
from pathlib import Path

from helpers import MODELS
from helpers.files import safe_name


def run_folder(name: str | None, dataset: str, backbone: str) -> Path:
    """Make models/<name>/ and return it; with `name` None a new folder of this run alone, named by `run_name`.

    Raises OSError naming the folder if it cannot be made.
    """
    folder = MODELS / (safe_name(name) if name else run_name(dataset, backbone))
    number = 1
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=bool(name))
            (folder / "figures").mkdir(exist_ok=True)
            return folder
        except FileExistsError:
            if name:
                raise
            number += 1  # two runs began in the same second
            folder = MODELS / f"{run_name(dataset, backbone)}-{number}"
        except OSError as error:
            raise OSError(
                error.errno,
                f"{folder} cannot be made ({error.strerror}): runs are kept there, so it has to be writable.",
            ) from error


def run_name(dataset: str, backbone: str) -> str:
    """A name for a run: data set, backbone and local time, as in lucy-ResNet50-20260131-235959."""
    return safe_name(f"{Path(dataset).name}-{backbone}-{datetime.now():%Y%m%d-%H%M%S}")
