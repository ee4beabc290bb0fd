"""A stand-in for the vendor's voice record service, for demos and tests: real HTTP on loopback. Extra `sandbox`."""

from .._extras import needs

with needs("sandbox"):
    from ._service.app import Request
    from .behaviour import Behaviour, Fault
    from .server import Sandbox

__all__ = ["Behaviour", "Fault", "Request", "Sandbox"]
