"""A GPT in scalars: it reads names letter by letter, learns which letter comes next, and makes up names of its own.

All of it is here, one number at a time: a vector for each letter and for each place, one layer of attention with four heads,
a small network, and Adam; 4,192 parameters for the letters a to z and the dot that ends a name. One name is one step.
`chainrule.compile` runs these loops as arrays, a program for each length of a name; `--plain` runs them as they stand, and
gives the same losses.

Run me: python examples/gpt.py
    python examples/gpt.py names.txt --steps 10000    from names of your own, one a line
"""

import argparse
import random
import time
from pathlib import Path

import chainrule
from chainrule import Value, take
from chainrule.optim import Adam

CHANNELS, SIZE, CONTEXT = 16, 4, 16  # SIZE: the channels of a head, so there are four heads
TEMPERATURE = 0.5  # below 1, likely letters become likelier still
NAMES = """ada adele alma amara anna anton ariel asha bela bruno cara carlo celia clara dalia dario delia dora edgar elena elias
emil enzo fiona flora freya greta hanna helen hugo ida ines irina iris jana jonas julia karin lara lena leo lina livia luca maia
mara mila mina mira nadia nico nina nora olga oskar otto paula petra ravi rosa sara selma sofia tara theo ula vera wanda zoe"""


class GPT:
    """Called with T tokens, it gives T rows of scores: row t knows tokens 0 to t, and scores each letter that may follow."""

    def __init__(self, letters, rng):
        def matrix(rows, columns):
            return [[Value(rng.gauss(0.0, 0.08)) for _ in range(columns)] for _ in range(rows)]

        self.letter, self.place = matrix(letters, CHANNELS), matrix(CONTEXT, CHANNELS)
        self.query, self.key, self.value, self.mix = (matrix(CHANNELS, CHANNELS) for _ in range(4))
        self.wide, self.narrow = matrix(4 * CHANNELS, CHANNELS), matrix(CHANNELS, 4 * CHANNELS)
        self.score = matrix(letters, CHANNELS)

    def parameters(self):
        """Every number that is learnt."""
        return [p for matrix in vars(self).values() for row in matrix for p in row]

    def __call__(self, tokens, places):
        """Here take(table, i) is table[i], but to a compiled program other tokens can be given."""
        xs = [add(take(self.letter, i), take(self.place, t)) for i, t in zip(tokens, places, strict=True)]
        xs = [add(x, heard) for x, heard in zip(xs, self.attention([rms_norm(x) for x in xs]), strict=True)]
        xs = [add(x, linear(self.narrow, [h.relu() for h in linear(self.wide, rms_norm(x))])) for x in xs]
        return [linear(self.score, rms_norm(x)) for x in xs]

    def attention(self, xs):
        """Each place asks all up to itself (query, key) and takes from each (value) by the share of its answer."""
        queries, keys, values = ([linear(matrix, x) for x in xs] for matrix in (self.query, self.key, self.value))
        for t, q in enumerate(queries):
            heard = []
            for first in range(0, CHANNELS, SIZE):
                head = slice(first, first + SIZE)
                answers = [a / SIZE**0.5 for a in linear([k[head] for k in keys], q[head])]
                answers = [a + (0.0 if s <= t else -1e9) for s, a in enumerate(answers)]  # what is still to come: a share of 0
                heard += linear(zip(*[v[head] for v in values], strict=True), softmax(answers))
            yield linear(self.mix, heard)

    def loss(self, tokens, places, following):
        """How surprising what follows is, on average: minus the log of the share of each letter that came."""
        shares = [softmax(scores) for scores in self(tokens, places)]
        return sum(-take(row, i).log() for row, i in zip(shares, following, strict=True)) / len(shares)


def linear(matrix, x):
    """A matrix times a vector."""
    return [sum(w * a for w, a in zip(row, x, strict=True)) for row in matrix]


def add(xs, ys):
    """The sum of two vectors."""
    return [x + y for x, y in zip(xs, ys, strict=True)]


def rms_norm(x):
    """A vector scaled so that its squares are 1 on average."""
    scale = (sum(a * a for a in x) / len(x) + 1e-5) ** -0.5
    return [a * scale for a in x]


def softmax(scores):
    """Scores as shares of 1; the largest is taken off first, so that exp cannot overflow."""
    largest = max(s.data for s in scores)
    exps = [(s - largest).exp() for s in scores]
    total = sum(exps)
    return [e / total for e in exps]


def learner(model, optimizer, plain=False):
    """A function that learns from one name: given its tokens, their places, and what follows them, it returns the loss."""

    def step(tokens, places, following):
        loss = model.loss(tokens, places, following)
        for p in optimizer.params:
            p.grad = 0.0  # not zero_grad(): what is not in this name has slope 0, and Adam's memory moves it on
        loss.backward()
        optimizer.step()
        return loss.data

    return step if plain else chainrule.compile(model.loss, optimizer.params, optimizer=optimizer)


def sample(model, letters, rng):
    """A name, letter by letter, until the dot or the end of the context."""
    tokens = [0]
    with chainrule.no_grad():
        while len(tokens) <= CONTEXT and tokens[1:].count(0) == 0:
            shares = softmax([score / TEMPERATURE for score in model(tokens, range(len(tokens)))[-1]])
            tokens += rng.choices(range(len(letters)), [share.data for share in shares])
    return "".join(letters[i] for i in tokens if i)


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description="Learn from names, one number at a time, and make up new ones.")
    parser.add_argument("file", nargs="?", type=Path, help="names to learn from, one a line (default: some of its own)")
    parser.add_argument("--plain", action="store_true", help="run the loops as they stand, without chainrule.compile")
    for name, default in (("steps", 1000), ("seed", 1337), ("samples", 10)):
        parser.add_argument(f"--{name}", type=int, default=default, help="default %(default)s")
    options = parser.parse_args()
    words = (options.file.read_text(encoding="utf-8") if options.file else NAMES).split()
    if not words or options.steps < 1:
        parser.error("it takes a name and a step at least")
    letters, rng = [".", *sorted(set("".join(words)))], random.Random(options.seed)
    rng.shuffle(words)
    model = GPT(len(letters), rng)
    print(f"{len(words)} names, {len(letters) - 1} letters, {len(model.parameters())} parameters")
    optimizer = Adam(model.parameters(), lr=0.01, betas=(0.9, 0.99))
    step, losses, start = learner(model, optimizer, options.plain), [], time.perf_counter()
    for k in range(1, options.steps + 1):
        tokens = [0, *map(letters.index, words[(k - 1) % len(words)]), 0][: CONTEXT + 1]
        losses.append(step(tokens[:-1], range(len(tokens) - 1), tokens[1:]))
        optimizer.lr = 0.01 * (1.0 - k / options.steps)
        if k % max(options.steps // 10, 1) == 0:
            ms, start = (time.perf_counter() - start) / len(losses) * 1000, time.perf_counter()
            print(f"step {k}: loss {sum(losses) / len(losses):.4f}, {ms:.2f} ms a step", flush=True)
            losses = []
    print("the last step:", "as it stands" if options.plain else step.counts)
    print(*(sample(model, letters, rng) for _ in range(options.samples)), sep="\n")


if __name__ == "__main__":
    main()
