"""cases.csv: a row a case, its columns and their types."""

# columns of cases.csv and their types; a case that couldn't be read leaves the measured ones empty
COLUMNS = dict.fromkeys(("case", "verdict", "layout", "image", "mask"), "str")
COLUMNS |= {"channel": "Int64", "window_low": "float64", "window_high": "float64", "flip": "str", "mask_flip": "str"}
COLUMNS |= {"bytes": "str", "axes": "str"}
COLUMNS |= dict.fromkeys(("slices", "rows", "columns"), "Int64")
COLUMNS |= dict.fromkeys(("spacing_z_mm", "spacing_y_mm", "spacing_x_mm"), "float64")
COLUMNS |= {"hu_min": "Int64", "hu_max": "Int64", "hu_median": "float64", "liver_ml": "float64", "tumour_ml": "float64"}
COLUMNS |= dict.fromkeys(("lesions", "liver_slices", "tumour_slices"), "Int64")
COLUMNS |= {"liver_hu": "float64", "tumour_hu": "float64"}
COLUMNS |= dict.fromkeys(("findings", "reason", "to_do", "flip_proposed", "mask_flip_proposed"), "str")
COLUMNS |= {"voxels": "str", "thumbnail": "str"}  # what `twins` compares


def table(rows):
    """The rows of `doctor.examine_all` as a DataFrame with the columns and types of cases.csv."""
    import pandas as pd

    frame = pd.DataFrame(rows).reindex(columns=list(COLUMNS)).astype(COLUMNS)
    text = [name for name, kind in COLUMNS.items() if kind == "str"]
    return frame.assign(**frame[text].fillna(""))


def read_table(path):
    """cases.csv as it was written: names stay text ("007", "NA"), whole numbers whole, empty text is ""."""
    import pandas as pd

    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except ValueError as error:  # pandas' own errors are some
        raise ValueError(f"{path}: can't be read as a table ({error}); run 01_exploration again") from error
    if missing := {"case", "verdict", "image", "bytes"} - set(frame.columns):
        raise ValueError(f"{path}: lacks the columns {', '.join(sorted(missing))}; run 01_exploration again")
    frame = frame.reindex(columns=list(COLUMNS), fill_value="")
    numbers = {name: kind for name, kind in COLUMNS.items() if kind != "str"}
    return frame.assign(**frame[list(numbers)].apply(pd.to_numeric).astype(numbers))
