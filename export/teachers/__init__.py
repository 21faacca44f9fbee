"""Offline style transfer by optimisation: the systems that students are measured against and learn from."""
