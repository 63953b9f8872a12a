"""The exceptions that a person is meant to read."""

MISTAKE = 2
"""The exit status of what no other attempt mends: a person has to change something. Wrong options have it too."""


class UserError(Exception):
    """Something a person asked for cannot be done.

    The message is one sentence that names the file or key, the value, and what was expected. The command line prints
    it without a traceback and exits with ``status``.
    """

    status = MISTAKE


class PassingError(UserError):
    """Something that another attempt may mend: the network was away, or memory ran out and there will be more."""

    status = 1


class ConfigError(UserError):
    """A configuration, or the JSON that a command gets, is wrong; the message begins with the place."""


class CircleError(ConfigError):
    """Rows of a configuration are made of each other."""


class ValueFault(UserError):
    """A value cannot be what it is.

    Attributes:
        name: what the value is called where it is checked; the sentence begins with it.
        said: the rest of the sentence.
    """

    def __init__(self, name: str, said: str) -> None:
        super().__init__(f"{name} {said}")
        self.name, self.said = name, said


class NoRoomError(UserError):
    """A text is too short for what is to be hidden in it.

    Attributes:
        length: tokens of the text.
        needed: tokens that leave no room.
    """

    def __init__(self, what: str, *, length: int, needed: int) -> None:
        super().__init__(f"length is {length} tokens; {what} alone take {needed}.")
        self.length, self.needed = length, needed


class NoRopeError(UserError):
    """A search tried ropes, and none keeps to its bound."""


class OptionError(UserError, ValueError):
    """An option has a value that it cannot have; the message begins with the option's name.

    Attributes:
        option: its name, where the fault is its alone.
        said: the rest of the sentence then.
    """

    def __init__(self, message: str, option: str | None = None) -> None:
        super().__init__(f"{option} {message}" if option else message)
        self.option, self.said = option, message
