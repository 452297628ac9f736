"""The one error a user may see: a sentence that names the input, what is wrong and what would be right."""

ENDS = 100
"""How many letters of either end are told of a long text."""


class InputError(ValueError):
    """A wrong input, told in one sentence. The command prints it without a traceback and exits with 2."""


def nearest(wrong: str, known: list[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the known name closest to ``wrong``, or an empty string.

    A name of the same letters in another order is the closest.
    """
    import difflib

    swapped = [name for name in known if sorted(name) == sorted(wrong)]
    matches = difflib.get_close_matches(wrong, swapped or known, n=1, cutoff=0.5)
    return f"; did you mean '{matches[0]}'?" if matches else ""


def told_shortly(error: Exception) -> str:
    """Return what a library says of an error on one line, of a few hundred letters at most."""
    import textwrap

    return textwrap.shorten(str(error), 300, placeholder=" ...")


def cut(text: str) -> str:
    """Return a text without its middle, if it is longer than both of its ends."""
    return text if len(text) <= 2 * ENDS else f"{text[:ENDS]} ... {text[-ENDS:]}"


def printable(text: str) -> str:
    """Return a text that can be stored: what is no Unicode in it, as in a name of odd bytes, is escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "image"), counted(2000, "image")
    ('1 image', '2,000 images')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
