"""DMF, explained."""
