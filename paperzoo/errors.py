"""The error that a user can mend, which the command line prints as one message."""


class UserError(ValueError):
    """Something the user can mend; the message names the place and the remedy.

    The tools print it as one message without a traceback; in a program it is an
    ordinary `ValueError`.
    """
