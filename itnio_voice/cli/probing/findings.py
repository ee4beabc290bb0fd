"""What a probe has found: a value for each switch of the sandbox, its confidence, and the evidence. Pure."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import attrs

__all__ = ["Confidence", "Finding", "Report", "certain", "likely", "not_known"]

Confidence = Literal["certain", "likely", "not known"]
"""`certain`: an answer proves it. `likely`: no answer contradicts it. `not known`: the evidence has the reason."""


@attrs.frozen
class Finding:
    """The value of a switch, as JSON has it: durations are in seconds.

    `name` is that of the field of `itnio_voice.sandbox.Behaviour`. `evidence` has no text of a record.
    """

    name: str
    value: Any
    confidence: Confidence
    evidence: str

    @property
    def is_known(self) -> bool:
        """Whether there is a value."""
        return self.confidence != "not known"


def certain(name: str, value: Any, evidence: str) -> Finding:
    """Return a finding that an answer proves."""
    return Finding(name, value, "certain", evidence)


def likely(name: str, value: Any, evidence: str) -> Finding:
    """Return a finding that no answer contradicts."""
    return Finding(name, value, "likely", evidence)


def not_known(name: str, reason: str) -> Finding:
    """Return a finding without a value."""
    return Finding(name, None, "not known", reason)


@attrs.frozen
class Report:
    """The findings of a probe, and the number of requests that it sent."""

    findings: tuple[Finding, ...]
    requests: int

    @classmethod
    def of(cls, findings: Iterable[Finding], names: Iterable[str], requests: int) -> "Report":
        """Return a report with one finding for each name, in the order of the names."""
        found = {finding.name: finding for finding in findings}
        rows = [found.get(name) or not_known(name, "not measured") for name in names]
        return cls(tuple(rows), requests)

    @property
    def values(self) -> Mapping[str, Any]:
        """The known values by name."""
        return {finding.name: finding.value for finding in self.findings if finding.is_known}

    def to_json(self) -> str:
        """Return the known values under their names as JSON, with the confidence and the evidence of all findings."""
        confidence = {finding.name: finding.confidence for finding in self.findings}
        evidence = {finding.name: finding.evidence for finding in self.findings}
        return json.dumps({**self.values, "confidence": confidence, "evidence": evidence}, indent=2)
