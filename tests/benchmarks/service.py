"""A vendor in a process of its own, so that its time is not counted: the sandbox, or one that costs next to nothing."""

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
class Asked:
    """What a sandbox was asked: requests, different windows, and the deepest offset, in records."""

    requests: int
    windows: int
    deepest: int


@attrs.frozen
class Service:
    """A service that runs."""

    base_url: str
    process: "subprocess.Popen[str]"

    def asked(self) -> Asked:
        """Return what it was asked since the last time; only a sandbox tells."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return Asked(**json.loads(self.process.stdout.readline()))


@contextmanager
def service(kind: str, records: int, start: datetime, end: datetime, latency: float = 0.0) -> Iterator[Service]:
    """Run a `sandbox`, or a `cheap` one, with so many records in a range, whose answers take `latency` seconds."""
    command = [sys.executable, "-m", __name__, kind, str(records), start.isoformat(), end.isoformat(), str(latency)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        yield Service(process.stdout.readline().strip(), process)
        process.stdin.close()


class Cheap:
    """The vendor's pages out of memory, nothing checked: rows are JSON already, and a range is two bisections."""

    def __init__(self, records: int, start: datetime, end: datetime, latency: float) -> None:
        rows = [
            (datetime.fromisoformat(record["submitTime"]), msgspec.json.encode(record))
            for record in generate(records, start=start, end=end, seed=7)
        ]
        self.times, self.rows = zip(*sorted(rows), strict=True)
        self.latency = latency

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        """Answer a page."""
        asked = json.loads((await receive())["body"])
        current, size, params = asked["current"], asked["size"], asked["params"]
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
    """Serve until standard input ends; the sandbox tells for each line of it what was asked."""
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
