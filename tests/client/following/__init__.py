"""Tests of following an account."""
