"""The records of the sandbox: generated, stored and queried."""
