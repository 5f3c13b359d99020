"""Which slices of a folder make up one grid, whatever their series, and which are no scan."""

import itertools
from collections import defaultdict

import numpy as np

from helpers.scans import planes


def together(headers):
    """Lists of the files of a folder that are one scan each, in the order of their first files.

    That is a series and plane; where each slice has a UID of its own, or parts have, all that make
    up one grid.
    headers   dict path -> Header of the slices of CTs in one folder.
    """
    groups, by_grid, of_uid = defaultdict(list), defaultdict(list), defaultdict(set)
    for header in headers.values():
        of_uid[header.uid].update({header.plane} - {""})
    for path, header in headers.items():
        # a slice whose orientation can't be read is one of its series: reading it says so
        plane = header.plane or "".join(sorted(of_uid[header.uid]))
        # one series is of one patient; where files of two say that they are one, they aren't mixed
        groups[header.uid, plane, header.patient].append(path)
    for paths in groups.values():
        first = headers[paths[0]]
        placed = all(headers[path].position for path in paths)
        grid = (first.patient, tuple(np.round(first.orientation, 3))) if placed else paths[0]
        by_grid[grid].append(paths)
    order = {path: k for k, path in enumerate(headers)}
    joined = [sorted(paths, key=order.get) for parts in by_grid.values()
              for paths in _joined(parts, headers)]
    return sorted(joined, key=lambda paths: order[paths[0]])


def _joined(parts, headers):
    """Groups of files of one orientation, those joined that make up one grid."""
    if len(parts) == 1:
        return parts
    parts, numbers = _pooled(parts, headers), defaultdict(list)
    if _is_one_grid(parts, headers):
        return [sum(parts, [])]
    for part in parts:
        numbers[headers[part[0]].number].append(part)
    parts = [part for some in numbers.values() for part in (
        [sum(some, [])] if len(some) > 1 and _is_one_grid(some, headers) else some)]
    chains = []
    for part in sorted(parts, key=lambda part: min(headers[path].height for path in part)):
        for chain in chains:
            if _is_one_grid([chain, part], headers):
                chain += part
                break
        else:
            chains.append(list(part))
    return chains


def _pooled(parts, headers):
    """The groups with single files made one group by SeriesNumber, or all where that differs."""
    lone, numbers = [part[0] for part in parts if len(part) == 1], defaultdict(list)
    if len(lone) < 3:
        return parts
    for path in lone:
        numbers[headers[path].number].append(path)
    pools = [lone] if len(numbers) > len(lone) / 3 else list(numbers.values())
    return [*(part for part in parts if len(part) > 1), *pools]


def _is_one_grid(parts, headers):
    """True when groups of slices lie an even step apart and are one scan: one above the other, or
    uneven by themselves, or numbered through. Two phases half a step apart are none of these.
    """
    slices = sorted((headers[path] for part in parts for path in part), key=lambda h: h.height)
    if len(slices) < 3 or not planes.is_even([header.height for header in slices]):
        return False
    positions = np.array([header.position for header in slices])
    line = np.linspace(positions[0], positions[-1], len(slices))
    if np.abs(line - positions).max() > max(1.0, np.linalg.norm(line[1] - line[0]) / 2):
        return False
    heights = [sorted(headers[path].height for path in part) for part in parts]
    ends = sorted((part[0], part[-1]) for part in heights)
    orders = [header.order for header in slices]
    return (all(one[1] < other[0] for one, other in itertools.pairwise(ends))
            or any(len(part) < 3 or not planes.is_even(part) for part in heights)
            or None not in orders and (np.all(np.diff(orders) > 0) or np.all(np.diff(orders) < 0)))


def strays(gathered, headers):
    """Series that are no scan beside one: of one or two places there, or scouts next door."""
    few = [s for s in gathered if s.header.plane and _places(s, headers) < 3]
    homes = {s.folder for s in gathered if s not in few}
    return [s for s in few if s.folder in homes or homes and s.header.plane != "axial"]


def _places(series, headers):
    positions = [headers[series.folder][path].position for path in series.files]
    return len({tuple(np.round(position, 1)) for position in positions if position is not None})
