"""The page: figures, their pixels and numbers, one HTML file."""
