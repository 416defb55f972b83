"""The exception for input that cannot be used: entry points print its text without a traceback."""


class InputError(ValueError):
    """Something the user gave (file, folder, setting) cannot be used.

    The message says what was given, what was expected and, if possible, what to type. Any other exception that reaches
    an entry point is a bug and keeps its traceback. Each argument is one line: a line break within it comes from the
    name of a file and is escaped, as are other control characters.
    """

    def __str__(self) -> str:
        return "\n".join(printable(str(line), multiline=False) for line in self.args)


def printable(text: str, multiline: bool = True) -> str:
    """Escape control characters and invalid bytes, so that a terminal or a page can show the text.

    Line breaks are kept unless `multiline` is false, as for the name of a file.
    """
    if text.isprintable():
        return text
    fine = "\N{NO-BREAK SPACE}\N{IDEOGRAPHIC SPACE}" + ("\n" if multiline else "")
    return "".join(c if c in fine or c.isprintable() else c.encode("unicode_escape").decode() for c in text)
