"""Accelerators, behind one protocol."""
