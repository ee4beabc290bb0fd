"""A stand-in for the vendor's voice record service, for demos and tests: real HTTP on loopback, believable data."""

from ..extras import needs

with needs("sandbox"):
    from .app import Request
    from .behaviour import Behaviour, Fault
    from .server import Sandbox

__all__ = ["Behaviour", "Fault", "Request", "Sandbox"]
