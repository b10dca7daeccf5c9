"""What pip installs is complete, keeps its files beside the notebook, and names commands that work there."""

import fnmatch
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import phototransfer
from phototransfer import commands, files

PACKAGE = Path(phototransfer.__file__).parent
PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def installed(tmp_path_factory) -> Path:
    """A folder with nothing but the package in it, as pip leaves it."""
    folder = tmp_path_factory.mktemp("site-packages")
    shutil.copytree(PACKAGE, folder / "phototransfer", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def run_installed(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder with the installed package instead of the one of this checkout."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PHOTOTRANSFER_")}
    environment |= {"PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def test_an_installed_package_keeps_its_files_where_python_was_started(installed, tmp_path):
    code = "from phototransfer import files, paths; print(files.DATA, files.MODELS, paths.NOTEBOOK, sep='\\n')"
    done = run_installed(installed, tmp_path, "-c", code)
    names = ("data", "models", "transfer_learning.ipynb")
    assert done.stdout.splitlines() == [str(tmp_path.resolve() / name) for name in names], done.stderr


@pytest.mark.parametrize(
    "module, expected", [("classify", "python -m phototransfer.run"), ("run", "transfer_learning")]
)
def test_commands_of_an_installed_package_say_what_is_missing(installed, tmp_path, module, expected):
    arguments = ["cat.jpg"] if module == "classify" else []
    done = run_installed(installed, tmp_path, "-m", f"phototransfer.{module}", *arguments)
    assert done.returncode == 2
    assert expected in done.stderr and "make" not in done.stderr and str(tmp_path) in done.stderr
    assert os.listdir(tmp_path) == [] and os.listdir(installed) == ["phototransfer"]


def test_commands_are_those_of_the_place(monkeypatch):
    monkeypatch.setattr(files, "CHECKOUT", True)
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/make")
    assert commands.command("classify", "cat.jpg") == "make classify PHOTO=cat.jpg"
    assert commands.install_command("app").endswith(" -m pip install -r requirements-app.txt")
    monkeypatch.setattr(shutil, "which", lambda name: None)  # Windows
    assert commands.command("classify", "cat.jpg").endswith(" -m phototransfer.classify cat.jpg")
    assert "make" not in commands.gpu_commands()
    monkeypatch.setattr(files, "CHECKOUT", False)
    assert commands.command("run") == "python -m phototransfer.run"
    assert commands.install_command("export") == 'python -m pip install "phototransfer[export]"'


def test_the_environment_of_a_checkout_is_named(monkeypatch):
    python = PROJECT / ".venv" / "bin" / "python"
    monkeypatch.setattr(files, "CHECKOUT", True)
    monkeypatch.setattr(files, "PROJECT", PROJECT)
    monkeypatch.setattr(sys, "executable", str(python))
    assert commands.install_command("app") == f"{Path('.venv', 'bin', 'python')} -m pip install -r requirements-app.txt"


@pytest.mark.parametrize("part", commands.PARTS)
def test_what_is_installed_on_demand_has_requirements(part):
    assert (PROJECT / f"requirements-{part}.txt").is_file()


def test_the_wheel_has_every_file_of_the_package():
    patterns = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    for path in PACKAGE.rglob("*"):
        inside = path.relative_to(PACKAGE)
        if path.is_dir() or "__pycache__" in inside.parts or inside.name.startswith("."):
            continue
        if path.suffix == ".py":
            assert (path.parent / "__init__.py").is_file(), f"{inside.parent} is no package, so it is left out"
        else:
            matching = [one for one in patterns["phototransfer"] if fnmatch.fnmatch(inside.as_posix(), one)]
            assert matching, f"{inside} is not in package-data of pyproject.toml"
