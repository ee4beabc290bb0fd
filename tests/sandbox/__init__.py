"""Tests of the sandbox, over real HTTP and in-process."""
