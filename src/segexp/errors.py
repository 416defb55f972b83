"""The one exception that means "what you gave does not fit": entry points print its text without a traceback."""


class InputError(ValueError):
    """Something the user gave (file, folder, setting) cannot be used.

    The message says what came, what was expected and, where possible, what to type. Any other exception that reaches an
    entry point is a bug and keeps its traceback. Each argument is a line: a line break within one comes from the name
    of a file and is spelt out, as are other control characters.
    """

    def __str__(self) -> str:
        return "\n".join(printable(str(line), multiline=False) for line in self.args)


def printable(text: str, multiline: bool = True) -> str:
    """Text that a terminal or a page shows as it is: control characters and broken bytes are spelt out.

    Line breaks stay unless `multiline` is false, as in the name of a file.
    """
    if text.isprintable():
        return text
    fine = "\N{NO-BREAK SPACE}\N{IDEOGRAPHIC SPACE}" + ("\n" if multiline else "")
    return "".join(c if c in fine or c.isprintable() else c.encode("unicode_escape").decode() for c in text)
