"""Classical effects for a slot, played by pyo: one small server of its own for each slot."""
