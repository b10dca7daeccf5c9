"""Where does a search for settings keep what it tried, so that it can go on where it stopped?"""

import hashlib
import inspect
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout

from helpers.files import safe_name

if TYPE_CHECKING:
    import optuna  # imported where it is used: it takes two seconds that a run without tuning need not wait


def study_name(settings: dict[str, Any], arrays: list[np.ndarray], others: list[Any]) -> str:
    """Data set, backbone, and sixteen hex digits of everything else that decides a score."""
    seen = hashlib.blake2b(repr(others).encode(), digest_size=8)
    for array in arrays:
        seen.update(repr((array.shape, array.dtype.str)).encode())
        seen.update(np.ascontiguousarray(array))
    return f"{safe_name(Path(str(settings['DATASET'])).name)}-{settings['BACKBONE']}-{seen.hexdigest()}"


def code(function: Callable) -> str:
    """What a function says, so that a cell that was edited is another study."""
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):  # typed at a prompt
        return function.__qualname__


@contextmanager
def open_study(folder: Path, name: str) -> Iterator["optuna.Study"]:
    """The study of that name in <folder>/tuning.db, made if new; trials that a killed run left begun count as failed.

    Raises RuntimeError if another run is at it.
    """
    import optuna

    folder.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(logging.WARNING)
    lock = FileLock(folder / f".{name[-60:]}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RuntimeError(f"Another run is at the same search ({name}): wait, or set TUNE_TRIALS = 0.") from None
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder / 'tuning.db'}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # multivariate
            pruner = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2)
            study = optuna.create_study(
                storage=storage, study_name=name, direction="maximize", load_if_exists=True, pruner=pruner
            )
            for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
                study.tell(trial.number, state=optuna.trial.TrialState.FAIL)  # of a run that was killed
            yield study
    finally:
        storage.remove_session()
        storage.engine.dispose()
        lock.release()


def finished(study: "optuna.Study") -> list["optuna.trial.FrozenTrial"]:
    """The heads that were tried to the end or given up on the way, in order."""
    import optuna

    return study.get_trials(states=(optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED))


def as_text(right: np.ndarray) -> str:
    """Which photos were told right, bool (n,), as a study can keep it: a 0 or 1 each."""
    return "".join("01"[int(one)] for one in right)


def as_bits(text: str) -> np.ndarray:
    """The bool (n,) that `as_text` wrote."""
    return np.frombuffer(text.encode(), dtype=np.uint8) == ord("1")
