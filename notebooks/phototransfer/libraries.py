"""What the last digits of results depend on beside the code: versions of libraries and the kind of processor."""

import functools
import hashlib
import importlib.metadata
from collections.abc import Iterable
from pathlib import Path

import numpy as np

#: The distributions that a library is installed from, if there are several.
_BUILDS = {"tensorflow": ("tensorflow", "tensorflow-cpu")}


def versions(names: Iterable[str]) -> dict[str, str]:
    """Return the version of each library by name.

    Raises
    ------
    importlib.metadata.PackageNotFoundError
        One of them is not installed.
    """
    return {name: _version(name) for name in names}


def is_installed(distribution: str) -> bool:
    """Tell whether a distribution is installed, such as "tensorflow-cpu"; nothing is imported."""
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _version(name: str) -> str:
    builds = _BUILDS.get(name, (name,))
    installed = [build for build in builds if is_installed(build)]
    return importlib.metadata.version((installed or builds)[0])


@functools.cache
def source_digest() -> str:
    """Return 32 hex digits that change with the source of this package."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def instruction_sets() -> list[str]:
    """Return the instruction sets of the processor that NumPy uses, such as "AVX2".

    Measured on out-of-fold probabilities: other instruction sets change their last digits, another number of cores does
    not.
    """
    return list(np.show_config(mode="dicts")["SIMD Extensions"].get("found", []))
