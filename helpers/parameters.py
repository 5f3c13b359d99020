"""What a person gives on a command line or in a parameter: NAME=VALUE words, lists with commas."""

import ast

from helpers import files

# parameters that had another name in version 0.1
RENAMED = {
    "rounds": "epochs", "rounds_counted": "epochs_counted", "evenness": "patient_balance",
    "mirrored": "flip_tta",
    "necks_mm": "neck_widths_mm",
    "unlike_hu": "max_hu_difference",
    "least_lesion_ml": "min_lesion_ml", "least_liver_ml": "min_liver_ml",
    "peers": "other_libraries",
    "implants": "synthetic_lesions", "decoys": "gallbladders", "veins": "dark_veins",
}

# rules that went, and what holds now
NO_GALLBLADDER_RULE = "what the tumour network finds in the liver counts, beside fat too"
NO_PEAK_RULE = "a finding counts from tumour_threshold on, however sure its surest voxel is"
GONE = {
    "reach_mm": "tumours are sought inside the predicted liver only",
    "max_fat_fraction": NO_GALLBLADDER_RULE, "most_fat": NO_GALLBLADDER_RULE,
    "min_peak_probability": NO_PEAK_RULE, "least_peak": NO_PEAK_RULE,
    "teacher": "asking trained networks what masks leave open gained nothing elsewhere",
}


class Usage(ValueError):
    """Something on the command line can't be meant; nothing has been written."""


def listed(value):
    """The words of a text with commas between them, none for an empty one; those of a list."""
    words = value.split(",") if isinstance(value, str) else map(str, value)
    return [word.strip() for word in words if word.strip()]


def values_given(words):
    """NAME=VALUE words as a dict of texts; `of_type` reads them."""
    values = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name.isidentifier():
            raise Usage(f"--set {word!r}: write NAME=VALUE")
        values[name] = text
    return values


def unknown(name, known, whose):
    """The sentence about a name that isn't declared: its new name, why it went, or else those that
    there are.
    """
    if name in GONE:
        return f"{name!r} is no parameter any more: {GONE[name]}"
    if RENAMED.get(name) in known:
        return f"{name!r} is now called {RENAMED[name]!r}"
    return f"{whose} {name!r}; there are {', '.join(known)}"


def of_type(name, text, default):
    """What a text means for a parameter with this default: a Python literal of its type, or for
    text itself, quoted or not; a list of words for text has commas between them.

    Raises Usage for a literal of another type.
    """
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = {"true": True, "false": False}.get(text.lower(), text)
    texts = isinstance(value, list) and all(isinstance(word, str) for word in value)
    if isinstance(default, str) and texts:
        return ",".join(value)
    if isinstance(default, str):
        return value if isinstance(value, str) else text  # 1e3 and 0,1 are names, too
    if isinstance(default, tuple) and isinstance(value, list):
        return tuple(value)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not type(default):
        kinds = f"{type(value).__name__}, the default {default!r} is {type(default).__name__}"
        raise Usage(f"{name}={value!r}: is {kinds}")
    return value


def parameters_of(notebook):
    """Names and defaults in the notebook's cell tagged `parameters`, in order."""
    cells = tagged(files.read_json(notebook))
    if len(cells) != 1:
        raise ValueError(f"{notebook}: has {len(cells)} cells tagged 'parameters'; one is needed")
    defaults = {}
    for line in ast.parse("".join(cells[0]["source"])).body:
        defaults[line.targets[0].id] = ast.literal_eval(line.value)
    return defaults


def tagged(content):
    """The cells of a notebook that are tagged `parameters`."""
    cells = content["cells"]
    return [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
