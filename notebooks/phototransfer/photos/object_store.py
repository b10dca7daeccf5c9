"""The objects of a store (s3://, gs:// and others that fsspec knows): their list, and errors with the way out."""

import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from urllib.request import getproxies

AT_ONCE = 16  # objects that are fetched at the same time
CONNECT_SECONDS, READ_SECONDS = 5, 10
_S3, _GOOGLE = ("s3", "s3a"), ("gs", "gcs")
#: What the clients of stores call an answer that does not come. Their own types: the standard library's are known.
_UNREACHABLE = {
    *("EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ConnectionClosedError", "SSLError"),
    *("ProxyConnectionError", "HTTPClientError", "ClientConnectorError", "ClientConnectorDNSError", "TransportError"),
    *("ServerDisconnectedError", "ClientOSError"),
}
_NO_CREDENTIALS = {"NoCredentialsError", "DefaultCredentialsError"}
_NO_ACCESS = {*_NO_CREDENTIALS, "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError"}
_NO_ACCESS |= {"RefreshError", "ProfileNotFound", "UnauthorizedSSOTokenError", "SSOTokenLoadError"}
_CREDENTIALS = {
    **dict.fromkeys(_S3, "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"),
    **dict.fromkeys(_GOOGLE, "GOOGLE_APPLICATION_CREDENTIALS, or `gcloud auth application-default login`"),
}


class Unreachable(OSError):
    """A store does not answer."""


class RemoteObject(NamedTuple):
    """An object of a store."""

    name: str  #: what fsspec calls it
    size: int
    tag: str  #: another one if the content is another one: its ETag, or else its modification time
    mtime_ns: int | None


@dataclass(frozen=True)
class Listing:
    """The objects below an address, by their names below it."""

    address: str
    system: Any  #: the file system of fsspec
    objects: dict[str, RemoteObject]
    is_file: bool  #: whether the address is that of the only object


def list_objects(address: str) -> Listing:
    """List the objects below an address, whose protocol is known.

    Raises
    ------
    Unreachable
        The store does not answer.
    ValueError
        There is no such bucket, it has no objects there, or access is denied. The message says what to do.
    """
    print(f"Listing {address} …", flush=True)
    protocol = address.partition("://")[0]
    options: dict[str, Any] = {}
    if protocol in _S3:
        timeouts = {"connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS}
        retries = {"mode": "standard", "total_max_attempts": 2}
        options["config_kwargs"] = {**timeouts, "retries": retries, "max_pool_connections": AT_ONCE}
        options["use_listings_cache"] = False
    try:
        if protocol in _GOOGLE:
            _check_google()
        try:
            listing = _list(address, options)
        except Exception as error:
            if protocol not in _S3 or not _NO_CREDENTIALS & {type(cause).__name__ for cause in _causes(error)}:
                raise
            listing = _list(address, options | {"anon": True})
            print("No credentials were found: these objects are read without, as anybody can.")
    except Exception as error:  # each store has types of its own
        raise explain(address, error) from error
    if not listing.objects:
        raise ValueError(f"DATASET = {address!r}: there are no objects. Are bucket and folder spelled as in the store?")
    return listing


def _check_google() -> None:
    """Raise an OSError if Google does not answer, which its client would try for a minute."""
    if not getproxies() and "STORAGE_EMULATOR_HOST" not in os.environ:
        try:
            socket.create_connection(("storage.googleapis.com", 443), CONNECT_SECONDS).close()
        except OSError as error:
            raise ConnectionError(f"storage.googleapis.com: {error.strerror or error}") from error


def _list(address: str, options: Mapping[str, Any]) -> Listing:
    from fsspec.registry import get_filesystem_class

    kind = get_filesystem_class(address.partition("://")[0])
    system = kind(**options, skip_instance_cache=True)  # or credentials of before could be used
    if hasattr(system, "retries"):
        system.retries = 1  # its client tries again as well
    root = kind._strip_protocol(address).rstrip("/")
    found = system.find(root, detail=True)
    if set(found) == {root}:
        return Listing(address, system, {root.rpartition("/")[2]: _object(root, found[root])}, is_file=True)
    objects = {
        name.removeprefix(root).removeprefix("/"): _object(name, info)
        for name, info in found.items()
        if info.get("type") != "directory"
    }
    objects.pop("", None)  # the placeholder of the folder itself
    return Listing(address, system, objects, is_file=False)


def _object(name: str, info: Mapping[str, Any]) -> RemoteObject:
    """Read what a store says about an object: each has names of its own for it."""
    times = (info.get(key) for key in ("LastModified", "last_modified", "mtime", "updated", "created"))
    modified = next((time for time in times if time), None)
    if isinstance(modified, str):
        modified = datetime.fromisoformat(modified)
    if isinstance(modified, datetime):
        modified = modified.timestamp()
    mtime_ns = None if modified is None else int(modified * 10**9)
    tag = next((str(info[key]) for key in ("ETag", "etag", "md5Hash", "content_md5") if info.get(key)), str(mtime_ns))
    return RemoteObject(name, int(info["size"] or 0), tag, mtime_ns)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def is_unreachable(error: Exception) -> bool:
    """Tell whether the store did not answer; another error concerns an object or the access."""
    causes = list(_causes(error))
    return any(isinstance(cause, ConnectionError | TimeoutError) for cause in causes) or any(
        type(cause).__name__ in _UNREACHABLE for cause in causes
    )


def reason_of(error: Exception) -> str:
    """Return the first line of what an error says, or its type if it says nothing."""
    text = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    return str(text).partition("\n")[0]


def explain(address: str, error: Exception, done: int = 0, total: int = 0) -> Exception:
    """Return an error that names the address, what happened, and the way out."""
    protocol = address.partition("://")[0]
    begin = f"DATASET = {address!r}"
    if total:
        begin += f", {done:,} of {total:,} objects fetched"
    names = {type(cause).__name__ for cause in _causes(error)}
    again = " Run this again, it continues where it stopped." if total else ""
    place = ""
    if protocol in _S3:
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        place = (
            f" AWS_ENDPOINT_URL is {endpoint!r}." if endpoint else " AWS_ENDPOINT_URL is not set, so it is Amazon's."
        )
    if is_unreachable(error):
        return Unreachable(
            f"{begin}: the store cannot be reached ({reason_of(error)}).{place} Check address, port and network.{again}"
        )
    if isinstance(error, PermissionError) or names & _NO_ACCESS:
        credentials = _CREDENTIALS.get(protocol, "its credentials")
        return ValueError(
            f"{begin}: access denied ({reason_of(error)}). Set {credentials}, of somebody who may read it.{again}"
        )
    if isinstance(error, FileNotFoundError):
        return ValueError(
            f"{begin}: there is no such bucket or folder ({reason_of(error)}).{place} Check its spelling.{again}"
        )
    return ValueError(
        f"{begin} cannot be read ({type(error).__name__}: {reason_of(error)}).{place} Check the address.{again}"
    )
