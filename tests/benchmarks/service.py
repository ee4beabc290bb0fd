"""A vendor in its own process, whose time is not counted: the sandbox, or one that costs next to nothing."""

import asyncio
import json
import subprocess
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import attrs
import msgspec
from starlette.types import Receive, Scope, Send

from itnio_voice.sandbox import Behaviour, Sandbox
from itnio_voice.sandbox._data.dataset import generate
from itnio_voice.sandbox._service.listener import HOST, Listener


@attrs.frozen
class Requested:
    """The requests of a sandbox: their number, the different windows, and the deepest offset in records."""

    requests: int
    windows: int
    deepest: int


@attrs.frozen
class Service:
    """A running service."""

    base_url: str
    process: "subprocess.Popen[str]"

    def requested(self) -> Requested:
        """Return its requests since the last call; only a sandbox reports them."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return Requested(**json.loads(self.process.stdout.readline()))


@contextmanager
def service(kind: str, records: int, start: datetime, end: datetime, latency: float = 0.0) -> Iterator[Service]:
    """Run a `sandbox` or a `cheap` service with a number of records in a range; answers take `latency` seconds."""
    command = [sys.executable, "-m", __name__, kind, str(records), start.isoformat(), end.isoformat(), str(latency)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        yield Service(process.stdout.readline().strip(), process)
        process.stdin.close()


class Cheap:
    """The vendor's pages from memory, without checks: rows are JSON already, and a range is two bisections."""

    def __init__(self, records: int, start: datetime, end: datetime, latency: float) -> None:
        rows = [
            (datetime.fromisoformat(record["submitTime"]), msgspec.json.encode(record))
            for record in generate(records, start=start, end=end, seed=7)
        ]
        self.times, self.rows = zip(*sorted(rows), strict=True)
        self.latency = latency

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        """Answer a page."""
        query = json.loads((await receive())["body"])
        current, size, params = query["current"], query["size"], query["params"]
        first = bisect_left(self.times, datetime.fromisoformat(params["strTime"]))
        last = bisect_right(self.times, datetime.fromisoformat(params["endTime"]))
        total, offset = last - first, first + (current - 1) * size
        numbers = b'"total":%d,"size":%d,"current":%d,"pages":%d' % (total, size, current, -(-total // size))
        rows = b",".join(self.rows[offset : min(offset + size, last)])
        body = b'{"status":"0","reason":"success","data":{%s,"records":[%s]}}' % (numbers, rows)
        await asyncio.sleep(self.latency)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def main(kind: str, records: str, start: str, end: str, latency: str) -> None:
    """Serve until standard input ends; the sandbox reports its requests for each line of it."""
    first, last = map(datetime.fromisoformat, (start, end))
    if kind == "cheap":
        listener = Listener(Cheap(int(records), first, last, float(latency)))
        print(f"http://{HOST}:{listener.port}", flush=True)
        sys.stdin.read()
        listener.close()
        return
    behaviour = Behaviour(latency=float(latency), retention=None)
    with Sandbox(records=int(records), start=first, end=last, seed=7, behaviour=behaviour) as sandbox:
        print(sandbox.base_url, flush=True)
        for _ in sys.stdin:
            requests = [*sandbox.requests]
            sandbox.reset_requests()
            windows = {(request.start, request.end) for request in requests}
            deepest = max(((request.current or 1) - 1) * (request.size or 0) for request in requests)
            print(json.dumps({"requests": len(requests), "windows": len(windows), "deepest": deepest}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
