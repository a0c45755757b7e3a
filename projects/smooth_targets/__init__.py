"""Neighbouring locations of one object should find one box."""
