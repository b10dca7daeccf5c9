"""Trainings in other processes: the same results, and whatever happens there, the notebook goes on."""

import os
import sys
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import cloudpickle
import numpy as np
import pytest
from tqdm import tqdm

from builders import head_functions
from phototransfer import network, processes
from phototransfer.evaluate import learning_curve, start_trainings
from phototransfer.evaluate.learning_curve import start_curve
from phototransfer.network.training import Training


@pytest.fixture(scope="module")
def started():
    """The processes by their number: starting them takes seconds."""
    started = {count: processes._Processes() for count in (1, 2)}
    yield started
    for each in started.values():
        if each._executor is not None:
            each._executor.shutdown(kill_workers=True)


@pytest.fixture
def use_processes(monkeypatch, started):
    """use_processes(count): from now on there are so many other processes."""

    def use(count: int) -> None:
        monkeypatch.setenv(processes.PROCESSES_VARIABLE, str(count))
        monkeypatch.setattr(processes, "cpu_count", lambda: count + 1)
        monkeypatch.setattr(processes, "_processes", started[count] if count else processes._Processes())

    return use


@pytest.fixture
def trained_here(monkeypatch):
    """Count the trainings in this process."""
    original, trained = Training.run, []

    def run(self, trainer):
        trained.append(self)
        return original(self, trainer)

    monkeypatch.setattr(Training, "run", run)
    return trained


def notebook_validator(blobs, **functions):
    validator = blobs(40, 2, EPOCHS=3)
    for name in ("build_head", "fit_head"):
        setattr(validator, name, functions.get(name, head_functions()[name]))
    return validator


def probabilities(validator) -> np.ndarray:
    return validator.out_of_fold(validator.folds, bar=tqdm(disable=True))


def wait_until_done(validator) -> None:
    queue = validator._queue
    while queue._waiting or not all(future.done() for future in list(queue._begun.values())):
        time.sleep(0.01)


@pytest.mark.parametrize("count", [1, 2])
def test_results_are_the_same_with_any_number_of_processes(count, blobs, use_processes, trained_here):
    expected = probabilities(notebook_validator(blobs))
    expected_curve = learning_curve(notebook_validator(blobs)).table
    trained_here.clear()
    use_processes(count)
    validator = notebook_validator(blobs)
    validator.start(validator.folds_without_test)
    validator.start(validator.folds)
    start_curve(validator)
    wait_until_done(validator)
    np.testing.assert_array_equal(probabilities(validator), expected)
    assert learning_curve(validator).table.equals(expected_curve)
    assert not trained_here


def test_trainings_that_have_not_begun_are_done_here(blobs, use_processes, trained_here, monkeypatch):
    expected = probabilities(notebook_validator(blobs))
    trained_here.clear()
    use_processes(1)
    validator = notebook_validator(blobs)
    validator.start(validator.folds)
    np.testing.assert_array_equal(probabilities(validator), expected)
    assert 0 < len(trained_here) < len(validator.folds.folds)


def test_a_changed_setting_is_trained_again(blobs, use_processes):
    use_processes(1)
    validator = notebook_validator(blobs)
    validator.start(validator.folds)
    validator.settings = {**validator.settings, "HEAD": [5]}
    changed = notebook_validator(blobs)
    changed.settings = validator.settings
    np.testing.assert_array_equal(probabilities(validator), probabilities(changed))


def test_a_process_that_ends_is_done_without(blobs, use_processes, capsys):
    expected = probabilities(notebook_validator(blobs))
    use_processes(1)
    here, original = os.getpid(), head_functions()["fit_head"]

    def fit_head(head, train, val, settings):
        if os.getpid() != here:
            os._exit(1)
        return original(head, train, val, settings)

    validator = notebook_validator(blobs, fit_head=fit_head)
    validator.start(validator.folds)
    wait_until_done(validator)
    np.testing.assert_array_equal(probabilities(validator), expected)
    assert "has ended" in capsys.readouterr().out


def fails(head, train, val, settings):
    raise ZeroDivisionError("of the notebook's function")


def test_an_error_of_the_notebook_is_raised_in_the_notebook(blobs, use_processes):
    use_processes(1)
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    validator = notebook_validator(blobs, fit_head=fails)
    validator.start(validator.folds)
    wait_until_done(validator)
    with pytest.raises(ZeroDivisionError, match="of the notebook's function") as error:
        probabilities(validator)
    assert any(entry.name == "fails" for entry in error.traceback)


def test_functions_that_cannot_be_sent_are_used_here(blobs, use_processes, trained_here, capsys):
    use_processes(1)
    lock = threading.Lock()

    def fit_head(head, train, val, settings):
        with lock:
            return network.fit(head, *train, validation_data=val, epochs=1, batch_size=8)

    validator = notebook_validator(blobs, fit_head=fit_head)
    validator.start(validator.folds)
    probabilities(validator)
    assert len(trained_here) == len(validator.folds.folds)
    assert "cannot be sent" in capsys.readouterr().out


def test_a_new_validator_withdraws_the_trainings_of_the_one_before(blobs, use_processes):
    use_processes(1)
    first, second = notebook_validator(blobs), notebook_validator(blobs)
    start_trainings(first)
    assert first._queue._waiting
    start_trainings(second)
    assert not first._queue._waiting and second._queue._waiting


@pytest.fixture
def unstarted(use_processes, monkeypatch):
    """One process could be started."""
    use_processes(1)
    monkeypatch.setattr(processes, "_processes", processes._Processes())
    return processes._processes


def test_no_process_for_a_single_processor(blobs, unstarted, monkeypatch):
    monkeypatch.setattr(processes, "cpu_count", lambda: 1)
    validator = notebook_validator(blobs)
    start_trainings(validator)
    processes.start({"CV_FOLDS": 5})
    assert unstarted._executor is None and not validator._queue


def test_no_process_without_cross_validation(unstarted):
    processes.start({"CV_FOLDS": 0})
    assert unstarted._executor is None


@pytest.mark.parametrize(
    ("build", "system", "expected"),
    [("tensorflow", "linux", False), ("tensorflow-cpu", "linux", True), ("tensorflow", "win32", True)],
)
def test_no_process_where_the_notebook_trains_on_a_gpu(build, system, expected, monkeypatch):
    """TensorFlow uses a GPU on Linux only, and not with each of its builds."""
    monkeypatch.delenv(processes.PROCESSES_VARIABLE, raising=False)
    monkeypatch.setattr(processes, "cpu_count", lambda: 2)
    monkeypatch.setattr(processes.psutil, "virtual_memory", lambda: SimpleNamespace(available=8_000_000_000))
    monkeypatch.setattr(processes.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(processes.sys, "platform", system)
    monkeypatch.setattr(processes.libraries, "is_installed", lambda name: name == build)
    assert bool(processes._affordable_number()) == expected


def test_no_process_without_memory(unstarted, monkeypatch):
    monkeypatch.setattr(processes.psutil, "virtual_memory", lambda: SimpleNamespace(available=1_000_000_000))
    processes.start({"CV_FOLDS": 5})
    assert unstarted._executor is None


def test_what_an_earlier_run_has_trained_is_not_begun(blobs, use_processes, tmp_path, trained_here):
    def storing():
        validator = notebook_validator(blobs)
        validator.features = replace(validator.features, results=tmp_path)
        return validator

    first = probabilities(storing())
    trained_here.clear()
    use_processes(1)
    validator = storing()
    validator.start(validator.folds)
    assert not validator._queue._begun
    np.testing.assert_array_equal(probabilities(validator), first)
    assert not trained_here


@pytest.mark.parametrize("count", [0, 1])
def test_trainings_that_no_process_was_asked_for_are_done_in_order(count, blobs, use_processes):
    """A search for settings stops a head after the first folds."""
    use_processes(count)
    validator = notebook_validator(blobs)
    validator.start(validator.folds_without_test)
    order = [fold.number for fold, _ in validator.predict_folds(validator.folds)]
    assert order == [0, 1, 2]


def test_a_number_of_processes_that_is_none_is_named(monkeypatch):
    monkeypatch.setenv(processes.PROCESSES_VARIABLE, "two")
    with pytest.raises(ValueError, match=r"PHOTOTRANSFER_PROCESSES must be .* got 'two'"):
        processes._affordable_number()
