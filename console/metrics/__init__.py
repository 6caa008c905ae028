"""Series: capture, readers, reduction."""
