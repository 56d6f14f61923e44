"""Configs that `--config=NAME` names. Each module has a function `get_config`."""
