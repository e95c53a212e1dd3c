"""The errors that end a command."""


class UserError(Exception):
    """Something the user must change, as one sentence for standard error; the command exits with code 2."""


class ChildRefused(Exception):
    """A child process exited with code 2 while it started; it has printed the reason itself."""
