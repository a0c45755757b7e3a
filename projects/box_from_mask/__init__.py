"""Boxes around segmented pixels against boxes that are regressed."""
