"""What is wrong before a run, found in seconds."""
