"""The index, the journal and the annotations."""
