"""Test double: settings of YAML files, with those of their `_parent_` below them, as attributes and as a dict."""

import os

import yaml


class Settings(dict):
    __getattr__ = dict.__getitem__
    __setattr__ = dict.__setitem__


class Config(Settings):
    def __init__(self, filename=None, verbose=False):
        super().__init__()
        merge(self, read(os.path.join(os.path.dirname(__file__), "config_base.yaml")))
        merge(self, read(filename))


def read(path):
    with open(path) as file:
        content = yaml.safe_load(file)
    parent = content.pop("_parent_", None)
    return merge(read(parent), content) if parent else content  # from the folder that the program was started in


def merge(settings, others):
    for name, value in others.items():
        if isinstance(value, dict):
            below = settings.get(name)
            value = merge(below if isinstance(below, dict) else {}, value)
            value = value if isinstance(value, Settings) else Settings(value)
        settings[name] = value
    return settings


def parse_cmdline_arguments(arguments):
    """["--a.b=1"] -> {"a": {"b": 1}}"""
    found = {}
    for argument in arguments:
        names, value = argument[2:].split("=")
        below = found
        for name in names.split(".")[:-1]:
            below = below.setdefault(name, {})
        below[names.split(".")[-1]] = yaml.safe_load(value)
    return found


def recursive_update_strict(settings, others):
    for name, value in others.items():
        if name not in settings:
            raise KeyError(f"The input key '{name}' does not exist in the config files.")
        if isinstance(value, dict):
            recursive_update_strict(settings[name], value)
        else:
            settings[name] = value
