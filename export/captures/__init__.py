"""Captures of others (.nam, Proteus, AIDA-X, RTNeural): read, checked and made into waveform models, without torch."""
