"""The command line: `duende COMMAND`."""

import sys

from . import DuendeError
from .engine.control.early import Early


def main() -> None:
    """Run the command line; failures the user can mend are one line on stderr and exit status 1."""
    # Before the imports below, which take as long as the engine's own.
    early = Early.live() if sys.argv[1:2] == ["live"] else Early()
    try:
        from .commands.app import app

        app(obj=early)
    except DuendeError as error:
        sys.stderr.write(f"duende: {error}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        early.close()


if __name__ == "__main__":
    main()
