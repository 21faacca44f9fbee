"""Hostile inputs: what comes in from a network or a file, changed at random, must be refused in one line or work."""
