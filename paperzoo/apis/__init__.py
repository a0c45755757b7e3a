"""What scripts and Python users call: configs, models, inference, training."""
