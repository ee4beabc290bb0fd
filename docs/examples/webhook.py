"""Post call records to a webhook as they become visible.

    python webhook.py https://example.com/calls webhook.checkpoint

Each request has the records of a batch as a JSON list. The checkpoint is stored after the webhook has answered with
success, so a batch is posted again if the program is killed in between: the receiver ignores the `voice_id` that it
knows. While the webhook fails, the same batch is posted again, and nothing else is requested. The account is in
ITNIO_API_KEY and ITNIO_API_SECRET.
"""

import asyncio
import sys
from pathlib import Path

import httpx

from itnio_voice import FollowCheckpoint, RecordFollower, VoiceRecord, VoiceSession

PAUSE = 5.0


async def post(follower: RecordFollower[VoiceRecord], client: httpx.AsyncClient, url: str, file: Path) -> None:
    """Post batches without an end, and store the checkpoint after each one."""
    async for batch in follower.batches():
        content = [record.to_dict() for record in batch.records]
        await deliver(client, url, content)
        store(file, batch.checkpoint)


async def deliver(client: httpx.AsyncClient, url: str, content: list[dict[str, object]]) -> None:
    """Post a batch, again and again until the answer is success."""
    while True:
        try:
            answer = await client.post(url, json=content)
            if answer.is_success:
                return
            problem = f"HTTP {answer.status_code}"
        except httpx.TransportError as error:
            problem = repr(error)
        print(f"the webhook failed: {problem}", file=sys.stderr)
        await asyncio.sleep(PAUSE)


def load(file: Path) -> FollowCheckpoint | None:
    """Return the stored checkpoint; None if there is none, so that the first run begins at the present."""
    return FollowCheckpoint.parse(file.read_text()) if file.exists() else None


def store(file: Path, checkpoint: FollowCheckpoint) -> None:
    """Replace the stored checkpoint: the file is complete at any time."""
    part = file.with_name(f"{file.name}.part")
    part.write_text(str(checkpoint))
    part.replace(file)


async def main(url: str, file: Path) -> None:
    """Follow the account, from the stored checkpoint if there is one."""
    resume = load(file)
    async with VoiceSession.from_env() as session, httpx.AsyncClient() as client:
        follower = session.follow(resume=resume)
        await post(follower, client, url, file)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
