"""From a sentence to a sound: the text-to-audio systems of the literature and one of our own, each a named backend."""
