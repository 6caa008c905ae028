"""The application: everything a user sees."""

__version__ = "0.1.0"
