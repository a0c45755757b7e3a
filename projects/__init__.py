"""What one builds on top of paperzoo; paperzoo imports nothing of it."""
