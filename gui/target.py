"""Where a host is."""

from dataclasses import dataclass

from .. import DuendeError

PORT = 7701


@dataclass(frozen=True)
class Target:
    """Where a host's OSCQuery is served, and the token that it asks for (none: "")."""

    host: str = "127.0.0.1"
    port: int = PORT
    token: str = ""

    @property
    def base(self) -> str:
        """What its paths come behind."""
        return f"http://{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str, token: str = "") -> "Target":
        """HOST, HOST:PORT or http://HOST:PORT; DuendeError for anything else."""
        bare = text.removeprefix("http://").rstrip("/")
        host, mark, port = bare.rpartition(":")
        if not mark:
            host, port = bare, str(PORT)
        if not host or not port.isdecimal() or not 0 < int(port) < 65536 or any(c in host for c in "/?#@ "):
            raise DuendeError(f"--connect {text!r}: write HOST or HOST:PORT, as in 192.168.1.20:7701")
        return cls(host, int(port), token)
