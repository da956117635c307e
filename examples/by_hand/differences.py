"""Centred differences: the slope of a function of some arrays as a measurement, to hold a derivation against."""


def by_differences(f, p, name, i, h):
    """df/d(element i of the array p[name]), from two evaluations of f, a function of a dictionary of arrays."""

    def at(move):
        array = p[name].copy()
        array.flat[i] += move
        return f(p | {name: array})

    return (at(h) - at(-h)) / (2 * h)


def worst_difference(f, p, g, rng, count=200, h=1e-5):
    """The largest difference between gradients g and centred differences of f, in shares of the largest slope.

    count: how many elements of each array are drawn.
    """
    largest = max(abs(array).max() for array in g.values())
    drawn = [(name, i) for name in p for i in rng.permutation(p[name].size)[:count]]
    return max(abs(g[name].flat[i] - by_differences(f, p, name, i, h)) for name, i in drawn) / largest
