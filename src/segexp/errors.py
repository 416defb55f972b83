"""The one exception that means "what you gave does not fit": entry points print its text without a traceback."""


class InputError(ValueError):
    """Something the user gave (file, folder, setting) cannot be used.

    The message says what came, what was wanted and, where possible, what to type. Any other exception that reaches an
    entry point is a bug and keeps its traceback.
    """


def printable(text: str) -> str:
    """Text that a terminal or a page shows as it is: control characters and broken bytes are spelt out."""
    return "".join(c if c == "\n" or c.isprintable() else c.encode("unicode_escape").decode() for c in text)
