"""FCOS, explained."""
