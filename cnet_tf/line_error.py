"""Errors for people to read: one line each, whatever was received."""

from cnet_tf.escaping import line


class LineError(ValueError):
    """Unusable input; the message is one line without control characters."""

    def __init__(self, message):
        super().__init__(line(message))
