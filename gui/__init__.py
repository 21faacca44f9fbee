"""The GUI: an OSC client like any other (extra `gui`)."""
