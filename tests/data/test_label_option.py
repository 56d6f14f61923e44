"""Check that sample.label selects the label with the given name."""

import pytest

from tiny_diffusion_jax.config import default_config, editable
from tiny_diffusion_jax.data import mixture
from tiny_diffusion_jax.data.label_option import NO_LABEL, RANDOM, Labels, resolve_label
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.run.versions import migrate_config


def labels(*names, present=None, titles=()):
    return Labels(names, tuple(range(len(names))) if present is None else present, titles)


@pytest.mark.parametrize("option, there, index", [
    ("2", labels("1", "2", "3"), 1),  # the label named 2, not the label with index 2
    ("3", labels("1", "2", "3"), 2),
    (3, labels("0", "1", "2", "3"), 3),
    ("ring", labels("disk", "ring"), 1),
    (" ring ", labels("disk", "ring"), 1),
    ("1", labels("disk", "ring"), 1),  # by index, because no label is named by a number
    ("", labels("disk", "ring"), RANDOM),
    ("-1", labels("1", "2"), RANDOM),
    ("-2", labels("1", "2"), NO_LABEL),
    ("-1", labels("-1", "0", "1"), 0),  # clustering programs use -1 for points without a cluster
    ("", labels("-1", "0", "1"), RANDOM),
    ("MNIST 3", labels("dino", "mnist:3", titles=("dino", "MNIST 3")), 1),
    ("mnist:3", labels("dino", "mnist:3", titles=("dino", "MNIST 3")), 1),
    ("7", labels(*"0123456789", present=(2, 7)), 7),
    ("1", labels("t?k=1", "t?k=2", titles=("1", "2")), 0),
])  # fmt: skip
def test_a_label_is_found_by_its_name(option, there, index):
    assert resolve_label(option, there) == index


@pytest.mark.parametrize("option, there, line", [
    ("0", labels("1", "2", "3"), "'0': must be one of 1, 2, 3, -1 for random ones, or -2 for none"),
    ("rign", labels("disk", "ring"), "'rign': must be one of disk, ring, -1 for random ones, or -2 "
                                     "for none. Did you mean ring?"),
    ("0", labels("t?k=1", "t?k=2", titles=("1", "2")), "'0': must be one of t?k=1, t?k=2, "),
    ("2", labels("disk", "ring"), "'2': must be one of disk, ring, "),
    ("-3", labels("disk", "ring"), "'-3': must be one of disk, ring, "),
    ("3", labels(*"0123456789", present=(2, 7)), "'3': must be one of 2, 7, "),
    ("x", labels("-1", "10", "2"), "one of -1, 10, 2, '' for random ones, or -2 for none"),
    ("x", labels("-2", "-1"), "'x': must be one of -2, -1, or '' for random ones"),
    ("x", labels("a", "b", titles=("-2", "B")), "one of a, b, or -1 for random ones"),
    ("x", labels("-1", "a", present=(1,)), "one of a, -1 for random ones, or -2 for none"),
    ("x", labels(*(f"name {i}" for i in range(30))), "name 19 and 10 more, -1 for random ones"),
])  # fmt: skip
def test_a_mistake_lists_the_labels(option, there, line):
    with pytest.raises(UserError) as error:
        resolve_label(option, there)
    message = str(error.value)
    assert message.startswith("config.sample.label = ") and line in message


@pytest.mark.parametrize("name, title", [
    ("two_spirals", "two spirals"), ("mnist:3", "MNIST 3"), ("mnist:3:7", "MNIST 3 #7"),
    ("a/cat.png", "cat"), ("t.csv?kind=ring", "ring"), ("t.csv", "t")])  # fmt: skip
def test_members_have_titles_before_they_are_read(name, title):
    assert mixture.member_title(name) == title


def test_a_config_takes_a_number_as_the_name_of_a_label():
    config = default_config()
    config.sample.label = 3
    assert config.sample.label == "3"
    sample = editable(config.sample)
    sample.update(label=-2)
    assert sample.label == "-2" and config.sample.label == "3"
    with pytest.raises(TypeError):
        sample.label = 1.5


@pytest.mark.parametrize("stored, option", [(-1, ""), (-2, "-2"), (4, "4"), ("ring", "ring")])
def test_configs_of_older_runs_have_numbers_for_labels(stored, option):
    config = default_config().to_dict()
    config["sample"]["label"] = stored
    assert migrate_config(config)["sample"]["label"] == option
