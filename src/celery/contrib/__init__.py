"""Helpers for projects: testing."""
