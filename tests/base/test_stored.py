"""Results of earlier runs: the same as computed, and never of something that has changed."""

import os
import subprocess
import sys
import time
import types

import numpy as np
import pytest

from phototransfer import stored as module
from phototransfer.stored import CannotStore, describe_function, stored


def is_known(folder, **depends_on) -> bool:
    result, known = stored(folder, depends_on, lambda: np.arange(3))
    np.testing.assert_array_equal(result, np.arange(3))
    return known


def function(source: str, **names):
    """Return the function of a notebook cell, with the names that it finds there."""
    namespace = {"__name__": "__main__"} | names
    exec(source, namespace)
    return next(value for value in namespace.values() if isinstance(value, types.FunctionType))


def test_the_same_is_computed_once(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return np.array([0.1, np.nan])

    for number, x in enumerate((np.arange(4), np.arange(4), np.arange(5), np.arange(4.0))):
        result, known = stored(tmp_path, {"x": x}, compute)
        assert known == (number == 1)
        np.testing.assert_array_equal(result, [0.1, np.nan])
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2),
        (1, 1.0),
        (1, True),
        (1, "1"),
        (None, False),
        ([1, 2], (1, 2)),
        ([1, [2]], [[1], 2]),
        ({"a": 1}, {"b": 1}),
        (np.array([1, 2]), np.array([2, 1])),
        (np.array([1, 2]), np.array([1, 2], dtype=np.int32)),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (0.1, np.nextafter(0.1, 1)),
    ],
)
def test_what_differs_is_computed(tmp_path, one, other):
    assert not is_known(tmp_path, value=one)
    assert not is_known(tmp_path, value=other)
    assert is_known(tmp_path, value=one)
    assert is_known(tmp_path, value=other)


def test_no_folder_and_what_cannot_be_compared_is_computed_each_time(tmp_path):
    for _ in range(2):
        assert not is_known(None, value=1)
        assert not is_known(tmp_path, value=object())
        assert not is_known(tmp_path, value=np.array([object()]))


HEAD = "def f(x):\n    return {body}"
CHANGES = {
    "its code": (HEAD.format(body="x + 1"), HEAD.format(body="x - 1"), {}, {}),
    "a number in it": (HEAD.format(body="x + 1"), HEAD.format(body="x + 2"), {}, {}),
    "a name in it": (HEAD.format(body="np.sin(x)"), HEAD.format(body="np.cos(x)"), {"np": np}, {"np": np}),
    "a number of the notebook": (HEAD.format(body="x + k"), HEAD.format(body="x + k"), {"k": 1}, {"k": 2}),
    "an array of the notebook": (
        HEAD.format(body="x + k"),
        HEAD.format(body="x + k"),
        {"k": np.zeros(2)},
        {"k": np.ones(2)},
    ),
    "a module by another name": (HEAD.format(body="m.sin(x)"), HEAD.format(body="m.sin(x)"), {"m": np}, {"m": os}),
    "a function it calls": (
        HEAD.format(body="g(x)"),
        HEAD.format(body="g(x)"),
        {"g": function("def g(x):\n    return x")},
        {"g": function("def g(x):\n    return -x")},
    ),
    "a function that one calls": (
        HEAD.format(body="g(x)"),
        HEAD.format(body="g(x)"),
        {"g": function("def g(x):\n    return h(x)", h=function("def h(x):\n    return 1"))},
        {"g": function("def g(x):\n    return h(x)", h=function("def h(x):\n    return 2"))},
    ),
    "a default": ("def f(x, k=1):\n    return x + k", "def f(x, k=2):\n    return x + k", {}, {}),
    "a default by name": ("def f(x, *, k=1):\n    return x + k", "def f(x, *, k=2):\n    return x + k", {}, {}),
    "an inner function": (
        "def f(x):\n    return [x + 1 for _ in x]",
        "def f(x):\n    return [x + 2 for _ in x]",
        {},
        {},
    ),
    "a name in an inner function": (
        "def f(x):\n    return (lambda: k)()",
        "def f(x):\n    return (lambda: k)()",
        {"k": 1},
        {"k": 2},
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_a_function_is_noticed(tmp_path, name):
    before, after, names, other_names = CHANGES[name]
    assert not is_known(tmp_path, f=function(before, **names))
    assert not is_known(tmp_path, f=function(after, **other_names))
    assert is_known(tmp_path, f=function(before, **names))


def test_a_value_around_a_function_is_noticed(tmp_path):
    def make(k):
        return lambda x: x + k

    assert not is_known(tmp_path, f=make(1))
    assert not is_known(tmp_path, f=make(2))
    assert is_known(tmp_path, f=make(1))


def test_a_function_that_calls_itself(tmp_path):
    source = "def f(x):\n    return f(x - 1) if x else {end}"
    assert not is_known(tmp_path, f=function(source.format(end=0)))
    assert is_known(tmp_path, f=function(source.format(end=0)))
    assert not is_known(tmp_path, f=function(source.format(end=1)))


def test_functions_that_refer_to_what_may_change_unnoticed_are_not_stored(tmp_path):
    own_module = types.ModuleType("my_heads")
    pretended = function("def g(x):\n    return x", __name__="numpy")
    assert describe_function(function(HEAD.format(body="k(x)"), k=pretended)) != describe_function(
        function(HEAD.format(body="k(x)"), k=np.median)
    )
    for value in (own_module, object(), function("class A:\n    pass\ndef f():\n    pass").__globals__["A"]):
        with pytest.raises(CannotStore):
            describe_function(function(HEAD.format(body="k(x)"), k=value))


def test_a_package_that_can_be_edited_counts_as_one_that_may_change_unnoticed(monkeypatch):
    f = function(HEAD.format(body="np.sin(x)"), np=np)
    describe_function(f)
    monkeypatch.setattr(module, "_is_editable", lambda name: name == "numpy")
    module._distributions.cache_clear()
    with pytest.raises(CannotStore):
        describe_function(f)
    monkeypatch.undo()
    module._distributions.cache_clear()


def test_a_package_from_an_index_counts_by_its_version():
    assert not module._is_editable("numpy")


def test_another_version_of_this_package_computes_again(tmp_path, monkeypatch):
    assert not is_known(tmp_path, value=1)
    monkeypatch.setattr(module, "environment", lambda: "another")
    assert not is_known(tmp_path, value=1)


def test_the_result_is_known_in_another_process(tmp_path):
    code = (
        "import sys, numpy as np\nfrom pathlib import Path\nfrom phototransfer.stored import stored\n"
        "def f(x):\n    return np.sin(x) + {1, 2, 3}.pop()\n"
        "print(stored(Path(sys.argv[1]), {'f': f, 'x': {'a', 'b', 'c'}}, lambda: np.array(7)))"
    )
    outputs = []
    for seed in ("1", "2"):  # the order of sets differs
        command = [sys.executable, "-c", code, str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONHASHSEED": seed})
        outputs.append(done.stdout.strip())
    assert outputs == ["(array(7), False)", "(array(7), True)"]


@pytest.mark.parametrize("content", [b"", b"cut off", b"\x93NUMPY\x01\x00"])
def test_a_damaged_file_is_computed_again(tmp_path, content, capsys):
    assert not is_known(tmp_path, value=1)
    [path] = tmp_path.iterdir()
    path.write_bytes(content)
    assert not is_known(tmp_path, value=1)
    assert path.name in capsys.readouterr().out
    assert is_known(tmp_path, value=1)


def test_nothing_is_left_of_a_computation_that_fails(tmp_path):
    with pytest.raises(ZeroDivisionError):
        stored(tmp_path, {"value": 1}, lambda: np.array(1 / 0))
    assert not is_known(tmp_path, value=1)


def test_the_folder_is_bounded_and_keeps_what_was_used_last(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_LIMIT", 2_500_000)

    def store(number: int) -> bool:
        known = stored(tmp_path, {"number": number}, lambda: np.zeros(1_000_000, np.uint8))[1]
        time.sleep(0.02)  # the clock of some file systems is that coarse
        return known

    assert not store(0) and not store(1) and store(0)
    assert not store(2)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2_500_000
    assert store(0) and not store(1)
