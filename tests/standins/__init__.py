"""What stands in for hardware that no test machine has, and the proof that it is like it."""
