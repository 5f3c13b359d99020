"""What a person gives on a command line or in a parameter: NAME=VALUE words, lists with commas."""

import ast


class Usage(ValueError):
    """Something on the command line can't be meant; nothing has been written."""


def listed(text):
    """The words of a text with commas between them; none for an empty one."""
    return [word.strip() for word in text.split(",") if word.strip()]


def values_given(words):
    """NAME=VALUE words as a dict; a value is read as a Python literal, or else as text."""
    given = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name.isidentifier():
            raise Usage(f"--set {word!r}: write NAME=VALUE")
        try:
            given[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            given[name] = {"true": True, "false": False}.get(text.lower(), text)
    return given


def of_type(name, value, default):
    """The value in the type of the parameter's default; raises Usage when it has another one."""
    if isinstance(default, str):
        return value if isinstance(value, str) else str(value)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not type(default):
        kinds = f"{type(value).__name__}, the default {default!r} is {type(default).__name__}"
        raise Usage(f"{name}={value!r}: is {kinds}")
    return value
