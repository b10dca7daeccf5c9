"""How commands are typed where this package is: with make in a checkout of the project, else with Python and pip."""

import os
import shutil
import sys

from phototransfer import files

#: Parts that are installed on demand: `requirements-<part>.txt` in a checkout, an extra of the package elsewhere.
PARTS = ("app", "cluster", "export", "large", "remote")
_MAKE_VARIABLES = {"classify": "PHOTO="}  # by which make takes the argument of a command


def command(name: str, argument: str = "") -> str:
    """Return a command of this project as it is typed here: "make run", or "python -m phototransfer.run".

    Parameters
    ----------
    name : {"run", "classify", "app"}
    argument : str, optional
        What the command is applied to, such as "cat.jpg" for "classify".
    """
    if _has_make():
        return f"make {name} {_MAKE_VARIABLES.get(name, '')}{argument}" if argument else f"make {name}"
    return f"{_python()} -m phototransfer.{name} {argument}".rstrip()


def install_command(part: str) -> str:
    """Return the command that installs one of PARTS here."""
    if part not in PARTS:
        raise ValueError(f"part must be one of {', '.join(PARTS)}, got {part!r}")
    packages = f"-r requirements-{part}.txt" if files.CHECKOUT else f'"phototransfer[{part}]"'
    return f"{_python()} -m pip install {packages}"


def gpu_commands() -> str:
    """Return what replaces the TensorFlow that is installed by the one with CUDA."""
    if _has_make():
        return "make gpu"
    install = f"{_python()} -m pip"
    return f'{install} uninstall tensorflow-cpu, then {install} install "tensorflow[and-cuda]"'


def _has_make() -> bool:
    return files.CHECKOUT and shutil.which("make") is not None  # Windows has no make


def _python() -> str:
    """Return how the interpreter in use is called from the checkout if its environment lies there, else "python"."""
    inside = files.CHECKOUT and os.path.abspath(sys.executable).startswith(f"{files.PROJECT}{os.sep}")
    return os.path.relpath(sys.executable, files.PROJECT) if inside else "python"
