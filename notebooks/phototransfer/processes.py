"""Other processes that train heads, on processors that would be idle, while the notebook goes on."""

import importlib
import os
import shutil
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import BrokenExecutor, Future
from typing import Any

import cloudpickle
import psutil
from loky import ProcessPoolExecutor, cpu_count

from phototransfer import libraries
from phototransfer.console import quiet_tensorflow

#: Environment variable with the most processes to start; 0: everything is done in the notebook's own process.
PROCESSES_VARIABLE = "PHOTOTRANSFER_PROCESSES"
_MOST = 4  # there are some 40 trainings, and TensorFlow needs memory in each
_MEMORY = 1_500_000_000  # bytes that must be free for each
#: What the trainings use, imported before the first one comes.
_MODULES = ("keras", "sklearn.utils.class_weight", "phototransfer.network.training")
_IDLE_SECONDS = 60  # after which a process ends


_queues: "weakref.WeakSet[Queue]" = weakref.WeakSet()


def start(settings: Mapping[str, Any]) -> None:
    """Start the processes if the settings ask for what they do; each imports TensorFlow, as this one does meanwhile."""
    if settings["CV_FOLDS"]:
        _processes.start()


def pack(functions: tuple[Callable[..., Any], ...]) -> bytes:
    """Return functions of the notebook as bytes for the other processes; nothing else may read them.

    Raises
    ------
    Exception
        One of them refers to an object that cannot be sent; of which type, depends on the object.
    """
    return bytes(cloudpickle.dumps(functions))


def unpack(functions: bytes) -> tuple[Callable[..., Any], ...]:
    """Return the functions of `pack`, in another process."""
    unpacked: tuple[Callable[..., Any], ...] = cloudpickle.loads(functions)
    return unpacked


class _Processes:
    """The other processes of this one."""

    def __init__(self) -> None:
        self.number = 0
        self._executor: ProcessPoolExecutor | None = None

    def start(self) -> None:
        """Start them if there are none."""
        if self._executor is None and (number := _affordable_number()):
            # Otherwise loky takes the first import of a library for a leak of memory, and starts a new process.
            env = {"LOKY_MAX_MEMORY_LEAK_SIZE": "1e12"}
            self.number = number
            self._executor = ProcessPoolExecutor(number, timeout=_IDLE_SECONDS, initializer=_import_tensorflow, env=env)
            for _ in range(number):
                self._executor.submit(_do_nothing)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        if self._executor is None:
            raise BrokenExecutor("There are no processes.")
        return self._executor.submit(function, *arguments)

    def forget(self) -> None:
        """Start others when they are needed next: one of these has ended."""
        self.number, self._executor = 0, None


_processes = _Processes()


class Queue:
    """Calls for other processes, in the order in which they were added; none if no process can be started.

    A call that has not begun can be withdrawn, to be made in this process.
    """

    def __init__(self) -> None:
        for earlier in _queues:
            earlier.close()  # what it has not begun with is not needed any more
        _queues.add(self)
        _processes.start()
        self._lock = threading.RLock()
        self._open = _processes.number > 0
        self._waiting: dict[Hashable, tuple[Any, ...]] = {}
        self._begun: dict[Hashable, Future[Any]] = {}

    def __bool__(self) -> bool:
        """Tell whether there are other processes that take calls."""
        return self._open

    def __contains__(self, key: Hashable) -> bool:
        """Tell whether a call waits or has begun."""
        with self._lock:
            return key in self._waiting or key in self._begun

    def add(self, key: Hashable, function: Callable[..., Any], *arguments: Any) -> None:
        """Let the next free process call a function of this package, or of the notebook."""
        with self._lock:
            self._waiting[key] = (function, *arguments)
        self._begin()

    def withdraw(self, key: Hashable) -> bool:
        """Return whether the call has to be made here: it was never added, or no process has begun with it."""
        with self._lock:
            self._waiting.pop(key, None)
            return key not in self._begun

    def result(self, key: Hashable) -> Any:
        """Return what a call that has begun returns, or raise what it raises."""
        try:
            return self._begun[key].result()
        finally:
            with self._lock:
                del self._begun[key]

    def close(self) -> None:
        """Withdraw all calls that have not begun, and take no more."""
        with self._lock:
            self._open = False
            self._waiting.clear()

    def _begin(self) -> None:
        """Give each free process a call."""
        begun: list[Future[Any]] = []
        with self._lock:
            running = sum(not future.done() for future in self._begun.values())
            while self._open and self._waiting and running + len(begun) < _processes.number:
                key = next(iter(self._waiting))
                try:
                    self._begun[key] = _processes.submit(*self._waiting[key])
                except RuntimeError:  # they have ended, or this process is about to end
                    self.close()
                    break
                del self._waiting[key]
                begun.append(self._begun[key])
        for future in begun:
            future.add_done_callback(self._go_on)

    def _go_on(self, ended: "Future[Any]") -> None:
        if isinstance(ended.exception(), BrokenExecutor):
            self.close()
            _processes.forget()
        else:
            self._begin()


def _affordable_number() -> int:
    """Return how many processes can work beside this one.

    None where the notebook may train on an NVIDIA GPU: a processor gives other last digits.
    """
    text = os.environ.get(PROCESSES_VARIABLE, str(_MOST))
    try:
        most = int(text)
    except ValueError as error:
        raise ValueError(f"{PROCESSES_VARIABLE} must be an integer (processes), got {text!r}") from error
    if most < 1 or _may_use_gpu():
        return 0
    return max(0, min(most, cpu_count() - 1, psutil.virtual_memory().available // _MEMORY))


def _may_use_gpu() -> bool:
    """Tell whether TensorFlow may use an NVIDIA GPU, without importing it: only one of its builds can, on Linux."""
    return sys.platform == "linux" and bool(shutil.which("nvidia-smi")) and libraries.is_installed("tensorflow")


def _import_tensorflow() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Jupyter interrupts all processes; the notebook's own one decides
    with quiet_tensorflow():
        import tensorflow as tf

        for name in _MODULES:
            importlib.import_module(name)
    # One processor each. The number of threads does not change the result.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def _do_nothing() -> None:
    pass
