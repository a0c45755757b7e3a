"""Attention, explained."""
