"""Places that execute jobs. Nothing in this package knows of the console."""
