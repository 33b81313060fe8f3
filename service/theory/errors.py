"""What can go wrong in a computation; the messages are for the user."""


class NotConverged(ArithmeticError):
    """A fixed point was not found to the accuracy that is promised; no value is returned from it."""


class Unsupported(ValueError):
    """There is no formula for this combination; the message names what to change."""
