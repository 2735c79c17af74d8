"""The settings of every scene: read, checked, and explained when something is wrong.

schema.py       what config/schemas allow: the one list of settings
values.py       one value against its schema
files.py        configuration files: which settings they set, and in which line
table.py        the table of scenes
meaning.py      rules between values
sources.py      the `video` cell: can footage be where it says?
overrides.py    settings of Neuralangelo itself
load.py         all of these together: the settings of each scene
words.py        values, limits and paths as messages show them
document.py     config/config.yaml and the tables of config/README.md, written from the schema
"""
