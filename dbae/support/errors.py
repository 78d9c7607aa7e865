"""One exception for everything a user can put right."""


class UserError(Exception):
    """Bad input: the message names the file, what was expected, what was found, and what to do.

    Command lines print the message alone (no traceback) and exit with status 2.
    """
