"""One walk in its own process: its duration and memory, as a line of JSON."""

import asyncio
import json
import resource
import sys
import time
from datetime import datetime

from itnio_voice import Credentials, VoiceSession

from .peers import KEY, SECRET


async def walk(base_url: str, start: datetime, end: datetime) -> dict[str, float]:
    """Read a range record by record."""
    wall, cpu = time.perf_counter(), time.process_time()
    async with VoiceSession(Credentials(KEY, SECRET), base_url=base_url, concurrency=8) as session:
        stream = session.records(start, end)
        records = 0
        async for _ in stream:
            records += 1
    return {
        "records": records,
        "windows": stream.progress.windows_done,
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    url, first, last = sys.argv[1:]
    print(json.dumps(asyncio.run(walk(url, datetime.fromisoformat(first), datetime.fromisoformat(last)))))
