"""`python -m ckpt_surgeon`, and the entry point of the installed command."""

from __future__ import annotations

from typing import NoReturn

from ckpt_surgeon.cli import main as application

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command line which this process was started with; never returns."""
    application()
    raise AssertionError("the application exits by itself")


if __name__ == "__main__":
    main()
