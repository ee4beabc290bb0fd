"""Labels of records and amounts, as the page and the terminal show them."""

from collections import Counter
from collections.abc import Iterable
from decimal import Decimal

from ..._model.printable import printable

__all__ = ["digits", "label", "labels"]

LONGEST = 60
"""The maximum number of characters that are shown of a text."""


def label(text: str) -> str:
    """Return the beginning of a text, with escapes for characters that are not printable."""
    return printable(text, LONGEST)


def labels(texts: Iterable[str]) -> list[str]:
    """Return a label for each text, with a number where different texts have the same beginning."""
    seen = Counter[str]()
    shown: list[str] = []
    for text in texts:
        name = label(text)
        seen[name] += 1
        shown.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return shown


def digits(amount: Decimal, grouping: str = "") -> str:
    """Return all digits of an amount, without zeros at its end; `grouping` separates thousands."""
    text = f"{amount:{grouping}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
