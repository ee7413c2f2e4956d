"""Errors that people read: one line each, whatever was received."""

from cnet_tf.escaping import line


class LineError(ValueError):
    """Something that cannot be used; the message is one line without escapes."""

    def __init__(self, message):
        super().__init__(line(message))
