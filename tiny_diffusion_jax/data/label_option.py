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
    present = _present(labels)
    if text in present:
        return present[text]
    if text in WORDS:
        return WORDS[text]
    by_index = text.isdecimal() and not any(map(_is_number, (*labels.names, *labels.titles)))
    if by_index and int(text) in labels.present:
        return int(text)
    near = difflib.get_close_matches(text, [labels.names[index] for index in labels.present], 1)
    raise UserError("config.sample.label", text, _all_in_words(labels),
                    f"Did you mean {near[0]}?" if near else "")  # fmt: skip


def names_agree_with_indices(labels: Labels) -> bool:
    """Return whether no label has a number as its name or title, apart from its own index."""
    return not any(_is_number(name) and name != str(i)
                   for names in (labels.names, labels.titles) for i, name in enumerate(names))


def _present(labels: Labels) -> dict[str, int]:
    """Index of each name and title of the labels that sets have; names have priority."""
    return {names[index]: index for names in (labels.titles, labels.names) if names
            for index in reversed(labels.present)}  # fmt: skip


def random_option(labels: Labels) -> str:
    """The option for random labels, in words: -1, or '' if a label has the name -1."""
    return "''" if "-1" in _present(labels) else "-1"


def _all_in_words(labels: Labels) -> str:
    """List the labels and the options for random labels and for no label, for a message."""
    options = [in_words(labels), f"{random_option(labels)} for random ones"]
    options += ["-2 for none"] * ("-2" not in _present(labels))
    return f"{', '.join(options[:-1])}, or {options[-1]}"


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
