"""A small object store on loopback that speaks as much of S3 as reading needs.

python tests/object_store.py <folder> [<port>]: the files of a folder as the objects of a bucket of its name.
"""

import hashlib
import re
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape


class Stored(NamedTuple):
    data: bytes
    modified: float

    @property
    def etag(self) -> str:
        return f'"{hashlib.md5(self.data).hexdigest()}"'


class ObjectStore(ThreadingHTTPServer):
    """Buckets of objects; `with ObjectStore() as store:` serves them."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.buckets: dict[str, dict[str, Stored]] = {}
        self.private: set[str] = set()  #: buckets that need a signed request
        self.broken: dict[str, int] = {}  #: by key, the status of the answer to GET
        self.fetched: Counter[str] = Counter()  #: how often each key was read to its end
        self.page = 1000  #: keys of an answer to ListObjectsV2
        self.seconds = 0.0  #: that each GET takes
        self.url = f"http://127.0.0.1:{self.server_port}"

    def put(self, bucket: str, key: str, data: bytes, modified: float = 1_700_000_000.0) -> None:
        self.buckets.setdefault(bucket, {})[key] = Stored(data, modified)

    def handle_error(self, request, client_address) -> None:
        """Say nothing: clients are killed on purpose."""

    def __enter__(self) -> "ObjectStore":
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: ObjectStore

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        bucket, _, key = address.path.removeprefix("/").partition("/")
        bucket, key = unquote(bucket), unquote(key)
        if bucket not in self.server.buckets:
            return self._error(404, "NoSuchBucket")
        if bucket in self.server.private and "Authorization" not in self.headers:
            return self._error(403, "AccessDenied")
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        if "list-type" in query:
            return self._list(bucket, query)
        return self._object(bucket, key)

    do_HEAD = do_GET

    def _list(self, bucket: str, query: dict[str, str]) -> None:
        keys = sorted(key for key in self.server.buckets[bucket] if key.startswith(query.get("prefix", "")))
        start = int(query.get("continuation-token", 0))
        end = start + self.server.page
        parts = [f"<IsTruncated>{'true' if end < len(keys) else 'false'}</IsTruncated>"]
        if end < len(keys):
            parts.append(f"<NextContinuationToken>{end}</NextContinuationToken>")
        if query.get("encoding-type") == "url":
            parts.append("<EncodingType>url</EncodingType>")
        for key in keys[start:end]:
            stored = self.server.buckets[bucket][key]
            name = quote(key) if query.get("encoding-type") == "url" else escape(key)
            modified = datetime.fromtimestamp(stored.modified, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
            parts.append(
                f"<Contents><Key>{name}</Key><LastModified>{modified}</LastModified>"
                f"<ETag>{escape(stored.etag)}</ETag><Size>{len(stored.data)}</Size></Contents>"
            )
        self._answer(200, f"<ListBucketResult>{''.join(parts)}</ListBucketResult>".encode())

    def _object(self, bucket: str, key: str) -> None:
        stored = self.server.buckets[bucket].get(key)
        if stored is None:
            return self._error(404, "NoSuchKey")
        if status := self.server.broken.get(key):
            return self._error(status, {403: "AccessDenied"}.get(status, "InternalError"))
        if self.command == "GET":
            time.sleep(self.server.seconds)
        data, status, headers = stored.data, 200, {}
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            last = min(int(match[2] or len(data)), len(data) - 1)
            headers["Content-Range"] = f"bytes {match[1]}-{last}/{len(data)}"
            data, status = data[int(match[1]) : last + 1], 206
        headers |= {"ETag": stored.etag, "Last-Modified": formatdate(stored.modified, usegmt=True)}
        self._answer(status, data, headers)
        if self.command == "GET":
            self.server.fetched[key] += 1

    def _error(self, status: int, code: str) -> None:
        self._answer(status, f"<Error><Code>{code}</Code><Message>this is {code}</Message></Error>".encode())

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *args) -> None:
        pass


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with ObjectStore(int(sys.argv[2]) if len(sys.argv) > 2 else 0) as store:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                key = path.relative_to(folder).as_posix()
                store.put("bucket", f"{folder.name}/{key}", path.read_bytes(), path.stat().st_mtime)
        print(f"AWS_ENDPOINT_URL={store.url}: s3://bucket/{folder.name}", flush=True)
        store._thread.join()
