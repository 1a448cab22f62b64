"""The one exception that a user, not a programmer, is meant to read."""


class GlossaeError(Exception):
    """Something in the input, the recipe or the surroundings that the user can mend.

    The message is one line that names the file and line, or the key, and says what to do. The command
    line prints it on standard error and leaves with status 2; a library user catches it.
    """
