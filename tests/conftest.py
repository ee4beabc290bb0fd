"""What all tests share: the sandbox's own pytest plugin."""

pytest_plugins = ["itnio_voice.sandbox.fixtures"]
