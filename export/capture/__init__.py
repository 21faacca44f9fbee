"""Capture your own amplifier: from a dry and a wet recording to a model, ours and `.nam`."""
