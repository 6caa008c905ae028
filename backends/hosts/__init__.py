"""Where argv can be run and bytes moved."""
