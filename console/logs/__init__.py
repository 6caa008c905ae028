"""Logs of any size: opening, following, searching, neutralising."""
