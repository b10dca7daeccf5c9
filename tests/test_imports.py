"""Imports point one way: base modules ← photos ← network ← evaluate ← audit."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import phototransfer

PACKAGE = Path(phototransfer.__file__).parent
LEVELS = ("base", "photos", "network", "evaluate", "audit")
#: What each base module may import of the others. The command run.py may import all of them and nothing else; the
#: commands that use a saved model may import the packages below `evaluate` too.
BASE = {
    "__init__": set(),
    "files": set(),
    "console": set(),
    "stats": set(),
    "style": {"stats"},
    "commands": {"files"},
    "paths": {"files", "commands", "console"},
    "cluster": {"commands", "libraries"},
    "settings": {"cluster", "paths"},
    "finding": set(),
    "libraries": set(),
    "processes": {"console", "libraries"},
    "stored": {"files", "libraries"},
    "recording": set(),
    "notebook_filter": set(),
    "model_card": {"finding", "stats"},
    "figures": {"files", "paths"},
    "html_report": {"files", "console", "finding", "paths", "settings", "stats"},
    "report": {
        "files",
        "console",
        "figures",
        "finding",
        "html_report",
        "libraries",
        "model_card",
        "paths",
        "recording",
        "stats",
    },
}
USING_MODELS = {"classify", "app"}
MODULES = {path.relative_to(PACKAGE).with_suffix("").as_posix(): path for path in PACKAGE.rglob("*.py")}


def imported(path: Path) -> set[str]:
    """Return the modules of the package that a file imports, anywhere in it, as paths: "photos/decode"."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    parts = [name.split(".")[1:] for name in names if name.startswith("phototransfer.")]
    return {"/".join(part) for part in parts if (PACKAGE / "/".join(part)).is_dir() or "/".join(part) in MODULES}


def level(module: str) -> int:
    package = module.split("/")[0]
    return LEVELS.index(package) if package in LEVELS else 0


def wrong_imports(module: str, names: set[str]) -> list[str]:
    if module == "run":
        return [name for name in names if level(name) > 0]
    if module in USING_MODELS:
        return [name for name in names if level(name) > LEVELS.index("network") or name == "run"]
    if level(module) > 0:
        return [name for name in names if level(name) > level(module) or name == "run"]
    return [name for name in names if name not in BASE[module]]


def test_every_module_is_read():
    assert {module for module in MODULES if "/" not in module} == {*BASE, *USING_MODELS, "run"}
    assert {module.split("/")[0] for module in MODULES if "/" in module} == set(LEVELS) - {"base"}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_one_way(module):
    assert wrong_imports(module, imported(MODULES[module])) == []


def test_a_wrong_import_is_found(tmp_path):
    path = tmp_path / "module.py"
    path.write_text("def later():\n    from phototransfer.audit import check_shift\n    import phototransfer.run\n")
    assert imported(path) == {"audit", "run"}
    for module in ("evaluate/folds", "photos/scan", "settings", "report"):
        assert sorted(wrong_imports(module, imported(path))) == ["audit", "run"]
    assert wrong_imports("photos/scan", {"photos/decode", "files", "network"}) == ["network"]
    assert wrong_imports("files", {"console"}) == ["console"]
    assert wrong_imports("run", {"files", "report", "network/features"}) == ["network/features"]


@pytest.mark.parametrize("package", ["photos", "evaluate", "audit", "report", "settings"])
def test_tensorflow_is_not_imported_with_what_does_not_need_it(package):
    code = f"import sys, phototransfer.{package}; print(*sys.modules.keys() & {{'tensorflow', 'keras'}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
