"""What both front ends show, as data."""
