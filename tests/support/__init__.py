"""Shared by several tests: event loops in virtual time, model servers and readers, and a reference reader."""
