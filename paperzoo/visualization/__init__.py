"""Pictures of what was found and of the truth."""
