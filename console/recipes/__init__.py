"""Typed templates of runs."""
