"""`python -m glossae` is the command `glossae`."""

from glossae.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
