"""Side by side with peers, in one run: `python -m benchmarks engine` prints a table and one last line of JSON.

Nothing is installed and nothing is written. Peers and engines run in processes of their own that stay open and are asked
in turn, so that a busy machine disturbs all of them alike; what counts is the median, and of a comparison that of the ratios
of turns that follow each other: a busy half of a run would move one median and not the other.

To add a benchmark, add a module here with `measure(quick) -> list[Row]` and its name to BENCHMARKS in __main__.py.
Left out on purpose: a history of results; the JSON line is for whoever wants to keep one.
"""
