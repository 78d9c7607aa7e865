"""What a user can put right."""


class UserError(Exception):
    """Bad input: the message names the file, what was expected, what was found, and what to do.

    Command lines print the message alone (no traceback) and exit with `status`.
    """

    status = 2


class DivergedError(UserError):
    """A training's loss or gradient became NaN or infinite; with a smaller learning rate it may not."""

    status = 3
