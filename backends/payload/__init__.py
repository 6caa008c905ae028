"""Code that travels to the executing side. It imports nothing of ours."""
