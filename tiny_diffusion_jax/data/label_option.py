"""The option sample.label: the name of a label, random labels, or no label."""

import difflib
from typing import NamedTuple

from tiny_diffusion_jax.errors import UserError

RANDOM, NO_LABEL = -1, -2
WORDS = {"": RANDOM, "-1": RANDOM, "-2": NO_LABEL}
MOST_LISTED = 20  # labels in a message


class Labels(NamedTuple):
    """Labels of a dataset; empty if all sets are draws of one density."""

    names: tuple[str, ...] = ()  # label k is names[k]
    present: tuple[int, ...] = ()  # the labels that sets have
    titles: tuple[str, ...] = ()  # titles of label k in figures, if different from names[k]


def resolve_label(option: str | int, labels: Labels) -> int:
    """The index of the label that sample.label names, RANDOM, or NO_LABEL.

    A label with the name -1 or -2 has priority over the words for these values. The index of a
    label is valid as well, unless the name or title of a label is a number.
    Raises UserError with a list of the labels.
    """
    text = str(option).strip()
    for names in (labels.names, labels.titles):
        for index in labels.present:
            if names and names[index] == text:
                return index
    if text in WORDS:
        return WORDS[text]
    by_index = text.isdecimal() and not any(map(_is_number, (*labels.names, *labels.titles)))
    if by_index and int(text) in labels.present:
        return int(text)
    near = difflib.get_close_matches(text, [labels.names[index] for index in labels.present], 1)
    raise UserError("config.sample.label", text,
                    f"{in_words(labels)}, -1 for random ones, or -2 for none",
                    f"Did you mean {near[0]}?" if near else "")  # fmt: skip


def names_agree_with_indices(labels: Labels) -> bool:
    """Return whether no label has a number as its name or title, apart from its own index."""
    return not any(_is_number(name) and name != str(i)
                   for names in (labels.names, labels.titles) for i, name in enumerate(names))


def in_words(labels: Labels) -> str:
    """List the names of the labels, for a message."""
    names = [labels.names[index] for index in labels.present]
    more = f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
    return f"one of {', '.join(names[:MOST_LISTED])}{more}"


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True
