"""The grammar of --volume.

container@alias[/prefix]:mount_path[:permission][:cache]
https://host/owner/repository.git:mount_path[:permission]
standalone:mount_path[:permission]
"""

from typing import Any

PERMISSIONS = ("ro", "rw", "rwd")
CACHE = {"cache": True, "no-cache": False}


def parse(text: str, lose_prefix_with_trailing_slash: bool) -> dict[str, Any]:
    """A volume as in a job's spec. Raises ValueError."""
    # Words are taken off the right end, because the source of a volume may be an address with colons.
    rest, cache = take_word(text, CACHE)
    rest, permission = take_word(rest, PERMISSIONS)
    source, _, mount_path = rest.rpartition(":")
    if not source or not mount_path.startswith("/"):
        raise ValueError("expected container@alias[/prefix]:/mount_path[:permission][:cache]")
    return {
        "mountPath": mount_path,
        "permission": (permission or "ro").upper(),
        "cache": CACHE[cache] if cache else False,
        **parse_source(source, lose_prefix_with_trailing_slash),
    }


def take_word(text: str, words: Any) -> tuple[str, str | None]:
    rest, _, last = text.rpartition(":")
    return (rest, last.lower()) if last.lower() in words else (text, None)


def parse_source(source: str, lose_prefix_with_trailing_slash: bool) -> dict[str, Any]:
    if source == "standalone":
        return {"standalone": {}}
    if source.startswith(("https://", "http://")):
        if not source.endswith(".git"):
            raise ValueError("the address of a git repository ends in .git")
        return {"publicGit": {"url": source}}
    container, _, place = source.partition("@")
    alias, _, prefix = place.partition("/")
    if not container or not alias:
        raise ValueError("expected container@alias[/prefix] before the mount path")
    if lose_prefix_with_trailing_slash and prefix.endswith("/"):
        prefix = ""
    return {"dataStore": {"alias": alias, "container": container, "prefix": prefix.rstrip("/") or None}}
