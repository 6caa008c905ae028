"""Planning, launching, following and filtering runs."""
