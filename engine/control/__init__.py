"""Control: OSC, OSCQuery, MIDI, the show's state and supervision. The engine process never imports this."""
