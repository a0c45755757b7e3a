"""One episode through several few-shot classifiers, side by side; or through one."""
