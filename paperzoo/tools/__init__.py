"""The scripts that mim and the `paperzoo` command run."""
