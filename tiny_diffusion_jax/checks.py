"""Stub."""


def check(config):
    pass


def check_sample(config, sample, labels=None, given=None):
    pass
