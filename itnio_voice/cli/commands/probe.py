"""`itnio-voice probe`: what the vendor's pages leave open, measured by a few reads of an account."""

import math

from rich.box import SIMPLE_HEAD
from rich.table import Table

from ..._client.session import DEFAULT_BASE_URL
from ..._http.pool import make_client
from ..._model.records import SipRecord, VoiceRecord
from ..messages import UsageError
from ..options import AccountOptions, usage
from ..probing.findings import Finding, Report
from ..probing.probe import most_requests, probe
from ..terminal import cell, print_error, print_output, write_output

__all__ = ["run"]


async def run(accounts: AccountOptions, *, sip: bool, rate: float, minutes: float, json: bool) -> None:
    """Probe the server of one account, and print the findings."""
    found = list(accounts.found().values())
    if len(found) != 1:
        message = f"probe measures one account, not {len(found)}: choose it with --account"
        raise UsageError(message)
    (account,) = found
    most = most_requests(minutes)
    seconds = math.ceil(most_requests() / rate + minutes * 60)
    print_error(f"at most {most} reads of {account.name}, for at most about {seconds} s")
    with usage():
        client = make_client(1, account.base_url)
    async with client:
        with usage():
            account.session(http_client=client, rate=rate)  # checks the options
        report = await probe(
            account.credentials,
            client,
            base_url=account.base_url or DEFAULT_BASE_URL,
            of=SipRecord if sip else VoiceRecord,
            rate=rate,
            minutes=minutes,
        )
    if json:
        write_output(f"{report.to_json()}\n".encode())
    else:
        print_output(_table(report))


def _table(report: Report) -> Table:
    """Return the findings as a table."""
    table = Table(box=SIMPLE_HEAD, caption=f"{report.requests} requests")
    for name in ("question", "answer", "confidence"):
        table.add_column(name, no_wrap=True)
    table.add_column("evidence")
    for finding in report.findings:
        table.add_row(finding.name, cell(_shown(finding)), finding.confidence, cell(finding.evidence))
    return table


def _shown(finding: Finding) -> str:
    return str(finding.value) if finding.is_known else ""
