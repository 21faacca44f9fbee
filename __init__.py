"""duende: a real-time neural effect host for live instruments."""

__version__ = "0.1.0"


class DuendeError(Exception):
    """A failure that the user can mend: one line with the value, the bound and the way out."""
