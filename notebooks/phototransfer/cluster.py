"""Other computers: blocks of photos are shared among the nodes of a Ray cluster (https://docs.ray.io)."""

import importlib.util
import os
import platform
import socket
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from phototransfer.commands import install_command
from phototransfer.libraries import source_digest, versions

#: What the values of the setting CLUSTER begin with, if they are no name.
CLIENT = "ray://"
_LIBRARIES = ("numpy", "pillow", "keras", "tensorflow", "openvino")
_AT_ONCE = 2  # blocks that a node works on: while the last photos of one are finished, the next has begun
_MOST_ENDS = 20  # times that the process of a block may end
_CONNECT_SECONDS = 5.0
_WAIT_SECONDS = 5.0  # after which it is looked for new nodes

Block = TypeVar("Block")
Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class Nodes:
    """The computers of a cluster that this process is connected to."""

    setting: str

    def map(
        self, create: Callable[[], Callable[[Block], Outcome]], blocks: Sequence[Block]
    ) -> Iterator[tuple[Block, Outcome]]:
        """Yield each block with what a function makes of it on one of the nodes, in the order in which they end.

        A block whose process or node ends before it is given to another one. So the function must be one that can be
        called again with the same block.

        Parameters
        ----------
        create : callable
            Called once in a process of each node; returns the function. Both may be called in several threads.
        blocks : sequence

        Raises
        ------
        ValueError
            A node has another Python, or other versions of what the features depend on.
        Exception
            What `create` or the function raises on a node.
        RuntimeError
            No node is left, or the process of one block has ended too often.
        """
        import ray

        work = _Work(create, deque(range(len(blocks))))
        try:
            while work.waiting or work.running:
                work.start_workers()
                work.give(blocks)
                ready, _ = ray.wait(list(work.running), num_returns=1, timeout=_WAIT_SECONDS)
                for reference in ready:
                    number, outcome = work.take(reference)
                    if number is not None:
                        yield blocks[number], outcome
        finally:
            work.end()


@dataclass(eq=False)
class _Process:
    """A process on a node."""

    node: str
    worker: Any
    ready: bool = False  #: whether it has what it needs


class _Work:
    """What is being done on which node."""

    def __init__(self, create: Callable[[], Callable[[Any], Any]], waiting: "deque[int]") -> None:
        import ray

        self._create = ray.put(create)
        self.waiting = waiting
        #: By the reference to what is being computed: where, and the number of the block (None: the process starts).
        self.running: dict[Any, tuple[_Process, int | None]] = {}
        self._processes: dict[str, _Process] = {}
        self._ends: Counter[int | None] = Counter()

    def start_workers(self) -> None:
        """Start a process on each node that has none: at the beginning, after it has ended, and on nodes that came."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        nodes = {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
        if not nodes:
            raise RuntimeError("No node of the cluster is left. Start it again, or set CLUSTER = None.")
        for name in nodes.keys() - self._processes.keys():
            options = {
                "scheduling_strategy": NodeAffinitySchedulingStrategy(name, soft=False),
                "max_concurrency": _AT_ONCE,
                "num_cpus": min(1, nodes[name].get("CPU", 0)),
                "num_gpus": min(1, nodes[name].get("GPU", 0)),
            }
            process = _Process(name, ray.remote(_Worker).options(**options).remote())
            self._processes[name] = process
            self.running[process.worker.start.remote(self._create, _versions())] = process, None

    def give(self, blocks: Sequence[Any]) -> None:
        """Give each process that has fewer blocks than it can work on the next ones."""
        for _ in range(_AT_ONCE):
            given = Counter(process.node for process, _ in self.running.values())
            for process in self._processes.values():
                if self.waiting and process.ready and given[process.node] < _AT_ONCE:
                    number = self.waiting.popleft()
                    self.running[process.worker.do.remote(blocks[number])] = process, number

    def take(self, reference: Any) -> tuple[int | None, Any]:
        """Return the number of a block and its outcome, or None if there is none: the process has ended, or started."""
        import ray

        process, number = self.running.pop(reference)
        try:
            outcome = ray.get(reference)
            process.ready = True
            return number, outcome
        except ray.exceptions.RayTaskError as error:
            raise (error.cause if isinstance(error.cause, Exception) else error) from None
        except (
            ray.exceptions.RayActorError,
            ray.exceptions.ActorUnschedulableError,  # the node ended before the process began
            ray.exceptions.ObjectLostError,
        ) as error:
            if self._processes.get(process.node) is process:
                del self._processes[process.node]
            self._ends[number] += 1
            if self._ends[number] > _MOST_ENDS:
                raise RuntimeError(f"A process of the cluster has ended {_MOST_ENDS} times: {error}") from error
            if number is not None:
                self.waiting.appendleft(number)
            return None, None

    def end(self) -> None:
        """End the processes, which hold processors of the cluster."""
        import ray

        for process in self._processes.values():
            ray.kill(process.worker)


class _Worker:
    """The process of a node."""

    def start(self, create: Callable[[], Callable[[Any], Any]], expected: Mapping[str, str]) -> None:
        other = [f"{name} {version}" for name, version in _versions().items() if version != expected[name]]
        if other:
            raise ValueError(
                f"The node {platform.node()} of the cluster has {', '.join(other)}, and this computer has others. "
                "Their features would differ: install the same on all nodes, or set CLUSTER = None."
            )
        self._function = create()

    def do(self, block: Any) -> Any:
        return self._function(block)


def connect(setting: str | None) -> Nodes | None:
    """Connect to the cluster of the setting CLUSTER, unless that was done before.

    Parameters
    ----------
    setting : str or None
        None: no cluster. "local": one that is started on this computer, with all of its processors. "auto": the one
        that this computer is a node of. "ray://host:port": the one at this address.

    Raises
    ------
    ValueError
        Ray is not installed, or no cluster can be reached there.
    """
    if setting is None:
        return None
    check_cluster(setting)
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        return Nodes(setting)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # Ray would send a report on its use to its maker
    if setting != "local" and _has_token():
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # `ray start` asks for the token if there is one
    import ray

    options = {"logging_level": "ERROR", "log_to_driver": False}
    if setting == "local":
        options["include_dashboard"] = False
    try:
        ray.init(setting, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"CLUSTER = {setting!r}: no cluster can be reached there ({reason}). Is it started (ray start), "
            "and is the file ~/.ray/auth_token the same on all nodes and here?"
        ) from error
    return Nodes(setting)


def check_cluster(setting: str | None) -> None:
    """Raise a ValueError if Ray is not installed, or if nothing answers at the address of a cluster."""
    if setting is None:
        return
    if importlib.util.find_spec("ray") is None:
        raise ValueError(f"CLUSTER = {setting!r} needs Ray: {install_command('cluster')}. Without it: CLUSTER = None.")
    if setting.startswith(CLIENT):
        address = urlsplit(setting)
        try:
            socket.create_connection((address.hostname or "", address.port or 10001), _CONNECT_SECONDS).close()
        except OSError as error:
            raise ValueError(
                f"CLUSTER = {setting!r}: nothing answers at {address.netloc} ({error.strerror or error}). Is the "
                "cluster started (ray start --head), and is this its address?"
            ) from error


def _has_token() -> bool:
    """Tell whether there is a token for a cluster: https://docs.ray.io/en/latest/ray-security/token-auth.html."""
    place = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    return "RAY_AUTH_TOKEN" in os.environ or place.is_file()


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), "phototransfer": source_digest(), **versions(_LIBRARIES)}
