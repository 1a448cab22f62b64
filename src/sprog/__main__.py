"""`python -m sprog` is the command `sprog`."""

from sprog.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
