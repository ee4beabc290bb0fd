"""Tests of the files that the library writes."""
