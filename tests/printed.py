"""Numbers that programs print, held against the numbers they must be."""


def mismatches(printed, expected, tolerance):
    """What is wrong with the printed numbers, as sentences; `tolerance` says from a number's text how far off it may be."""
    found = [
        f"number {i} is printed as {text}, but it is {number!r}"
        for i, (text, number) in enumerate(zip(printed, expected, strict=False))
        if not abs(float(text) - number) <= tolerance(text)
    ]
    if len(printed) != len(expected):
        found.append(f"{len(printed)} numbers are printed, {len(expected)} are checked: {printed}")
    return found
