"""Textures: students that write free magnitudes, their graphs, and their training on pitch-bound statistics."""
