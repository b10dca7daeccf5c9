"""Results of earlier runs on disk: what depends on nothing that has changed is not computed again."""

import functools
import hashlib
import importlib.metadata
import inspect
import json
import platform
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from phototransfer.files import atomic_write, stamp
from phototransfer.libraries import instruction_sets, source_digest, versions

_LIMIT = 200_000_000  # bytes for one data set
_LARGEST = _LIMIT // 8  # a larger result would push out too many others
_PLAIN = (str, bytes, int, float, complex, bool, type(None), type(Ellipsis))
#: What the package's own numbers depend on beside its source.
_LIBRARIES = ("numpy", "scipy", "pandas", "scikit-learn", "pillow", "tensorflow", "keras")
#: Settings that no result of a training depends on. All others, and what functions of the notebook refer to, count.
WITHOUT_EFFECT = (
    "RUN",
    "PREDICT",
    "EXPORT",
    "FIGURES",
    "TUNE_TRIALS",
    "CHECKS",
    "LABELS",
    "RELABEL",
    "DATASET",
    "CLUSTER",
)


class CannotStore(Exception):
    """A result depends on something whose changes cannot be noticed."""


def stored(
    folder: Path | None, depends_on: Mapping[str, Any], compute: Callable[[], np.ndarray]
) -> tuple[np.ndarray, bool]:
    """Return `compute()`, or what it returned in an earlier run that depended on the same.

    Parameters
    ----------
    folder : Path or None
        Where results are kept; None: nowhere.
    depends_on : Mapping
        All that the result depends on, but the source of this package and the versions of libraries, which are added.
        Arrays, numbers, texts and containers of these count by value, functions by `describe_function`.
    compute : callable
        Returns an array of numbers.

    Returns
    -------
    array, bool
        The result, and whether it comes from an earlier run.
    """
    path = _path(folder, depends_on)
    if folder is None or path is None:
        return compute(), False
    try:
        result = np.load(path, allow_pickle=False)
        path.touch()  # used last
        return result, True
    except FileNotFoundError:
        pass
    except (OSError, ValueError, EOFError) as error:
        print(f"{path} is damaged ({error}): it is computed again.")
    result = compute()
    if result.nbytes > _LARGEST:
        return result, False
    with atomic_write(path) as partial, partial.open("wb") as file:
        np.save(file, result, allow_pickle=False)
    _delete_oldest(folder)
    return result, False


def is_stored(folder: Path | None, depends_on: Mapping[str, Any]) -> bool:
    """Tell whether `stored` would find a result of an earlier run."""
    path = _path(folder, depends_on)
    return path is not None and path.exists()


def _path(folder: Path | None, depends_on: Mapping[str, Any]) -> Path | None:
    if folder is None:
        return None
    try:
        described = [environment(), _describe(depends_on)]
    except CannotStore:
        return None
    digest = hashlib.blake2b(digest_size=16)
    _add(described, digest.update)
    return folder / f"{digest.hexdigest()}.npy"


def _delete_oldest(folder: Path) -> None:
    """Delete the results that were not used for the longest time, until the others need less than the limit."""
    total = 0
    for path in sorted(folder.glob("*.npy"), key=lambda path: -stamp(path).mtime_ns):
        total += max(stamp(path).size, 0)
        if total > _LIMIT:
            path.unlink(missing_ok=True)  # another run may have deleted it


@functools.cache
def environment() -> str:
    """Return a text that changes with the package's source, the versions of libraries and the kind of processor."""
    libraries = [f"{name} {version}" for name, version in versions(_LIBRARIES).items()]
    return " ".join([source_digest(), platform.python_version(), platform.machine(), *libraries, *instruction_sets()])


def _describe(value: Any) -> Any:
    """Return arrays, plain values, and lists and dictionaries of these that differ whenever the values differ."""
    if isinstance(value, _PLAIN) or (isinstance(value, np.ndarray | np.generic) and value.dtype != object):
        return value
    if isinstance(value, Mapping):
        return {str(name): _describe(each) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        parts = [_describe(each) for each in value]
        return [type(value).__name__, *(sorted(parts, key=repr) if isinstance(value, set | frozenset) else parts)]
    if isinstance(value, FunctionType):
        return describe_function(value)
    raise CannotStore(f"{type(value).__name__} cannot be compared with that of an earlier run")


def _add(described: Any, add: Callable[[bytes], None]) -> None:
    """Give `add` bytes that tell apart what `_describe` returns."""
    if isinstance(described, np.ndarray | np.generic):
        add(f"{described.dtype.str} {described.shape} ".encode())
        add(described.tobytes())
    elif isinstance(described, Mapping):
        _add([[name, described[name]] for name in sorted(described)], add)
    elif isinstance(described, list | tuple):
        add(f"{len(described)} of ".encode())
        for each in described:
            _add(each, add)
    else:
        add(f"{described!r} ".encode(errors="surrogatepass"))


def describe_function(function: FunctionType, inside: tuple[FunctionType, ...] = ()) -> Any:
    """Return what a function does: its code, its defaults, and all that it refers to, to any depth.

    Functions, classes and modules of installed packages count by their name and their package's version.

    Raises
    ------
    CannotStore
        It refers to something that may change unnoticed, such as an object of a class of the notebook.
    """
    if function in inside:
        return "recursive"
    code = function.__code__
    referred = {name: function.__globals__[name] for name in _names(code) if name in function.__globals__}
    closure = inspect.getclosurevars(function).nonlocals
    parts: dict[str, Any] = {"code": _describe_code(code)}
    for name, value in [*referred.items(), *closure.items()]:
        parts[name] = _describe_reference(value, (*inside, function))
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    parts["defaults of the function"] = [_describe_reference(value, (*inside, function)) for value in defaults]
    return parts


def _describe_reference(value: Any, inside: tuple[FunctionType, ...]) -> Any:
    module = value if isinstance(value, ModuleType) else sys.modules.get(getattr(value, "__module__", None) or "")
    if module is not None and _is_installed(value, module):
        return f"{module.__name__}.{getattr(value, '__qualname__', '')} {_version(module)}"
    if isinstance(value, FunctionType):
        return describe_function(value, inside)
    return _describe(value)


def _describe_code(code: CodeType) -> list[Any]:
    constants = [_describe_code(each) if isinstance(each, CodeType) else repr(each) for each in code.co_consts]
    return [code.co_code, code.co_names, code.co_varnames, code.co_freevars, constants]


def _names(code: CodeType) -> set[str]:
    """Return the names that code refers to, with those of the functions defined in it."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names(constant)
    return names


def _is_installed(value: Any, module: ModuleType) -> bool:
    """Tell whether a module, class or function is one of a package whose version tells its changes, or of this one."""
    top = module.__name__.partition(".")[0]
    if top not in _distributions() and top not in sys.stdlib_module_names and top != __package__:
        return False
    if isinstance(value, ModuleType):
        return True
    found: Any = module
    for name in getattr(value, "__qualname__", "").split("."):
        found = getattr(found, name, None)
    return found is value


def _version(module: ModuleType) -> str:
    distributions = _distributions().get(module.__name__.partition(".")[0], [])
    return " ".join(importlib.metadata.version(name) for name in distributions)


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    """Return the distributions of each package, but those whose source can be edited while the version stays."""
    return {
        package: names
        for package, names in importlib.metadata.packages_distributions().items()
        if not any(_is_editable(name) for name in set(names))
    }


def _is_editable(name: str) -> bool:
    """Tell whether a distribution was installed from a folder that is still its source (PEP 610)."""
    origin = importlib.metadata.distribution(name).read_text("direct_url.json")
    return origin is not None and bool(json.loads(origin).get("dir_info", {}).get("editable"))
