"""See what of a checkpoint will load, fix the names and shapes, prove it: before `model.load_state_dict`."""
