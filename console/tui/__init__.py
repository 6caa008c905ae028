"""The full-screen application: show, call a service, show."""
