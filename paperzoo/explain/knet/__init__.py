"""K-Net, explained."""
