"""Helpers for projects: testing, a progress bar."""
