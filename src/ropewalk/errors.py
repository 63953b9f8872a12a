"""The exceptions that a person is meant to read."""


class UserError(Exception):
    """Something a person asked for cannot be done.

    The message is one sentence that names the file or key, the value, and what was expected. The command line prints
    it without a traceback and exits with status 1.
    """


class OptionError(UserError, ValueError):
    """An option has a value that it cannot have; the message begins with the option's name."""
