import math
import pickle
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import make_moons

from chainrule import data
from chainrule.data.files import parse_number
from chainrule.data.setting import Setting, SettingError
from chainrule.errors import DataError, InputError


def write(tmp_path, text, name="points.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def message(tmp_path, text, target="label", **options):
    with pytest.raises(DataError) as caught:
        data.read_csv(write(tmp_path, text), target, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- named sets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "samples", "features", "classes"),
    [("moons", 100, 2, 2), ("circles", 100, 2, 2), ("blobs", 100, 2, 3), ("digits", 1797, 64, 10), ("iris", 150, 4, 3)],
)
def test_named_sets(name, samples, features, classes):
    points = data.load(name)
    assert (len(points), len(points.columns), len(points.classes)) == (samples, features, classes)
    assert set(points.y) == set(range(classes))
    assert points.fingerprint == data.load(name).fingerprint


@pytest.mark.parametrize("name", ["moons", "circles", "blobs"])
def test_options_change_the_draw(name):
    prints = {
        data.load(name, samples=n, noise=noise, seed=seed).fingerprint
        for n, noise, seed in [(30, 0.2, 1), (31, 0.2, 1), (30, 0.3, 1), (30, 0.2, 2)]
    }
    assert len(prints) == 4
    assert len(data.load(name, samples=31)) == 31


def test_a_subset_keeps_every_class():
    some = data.load("digits", samples=25, seed=3)
    assert len(some) == 25
    assert {some.y.count(k) for k in range(10)} == {2, 3}
    assert some.fingerprint != data.load("digits", samples=25, seed=4).fingerprint


def test_moons_are_those_of_the_micrograd_demo():
    np.random.seed(1337)
    X, y = make_moons(n_samples=100, noise=0.1)
    points = data.moons()
    assert (points.X, points.y) == (X.tolist(), y.tolist())


def test_the_lecture():
    points = data.lecture()
    assert points.X == [[2.0, 3.0, -1.0], [3.0, -1.0, 0.5], [0.5, 1.0, 1.0], [1.0, 1.0, -1.0]]
    assert [points.classes[k] for k in points.y] == ["1", "-1", "-1", "1"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: data.load("mons"), "unknown data set 'mons'; did you mean 'moons'?"),
        (lambda: data.load("iris", noise=0.1), "takes no noise"),
        (lambda: data.load("moons", samples=1), "at least 2"),
        (lambda: data.load("moons", noise=-1.0), "0 or more"),
        (lambda: data.load("moons", noise=math.nan), "0 or more"),
        (lambda: data.load("moons", seed=-1), "seed"),
        (lambda: data.load("iris", samples=151), "from 3 to 150"),
    ],
)
def test_wrong_options(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'chainrule\[train\]'"):
        data.load("moons")
    assert len(data.load("lecture")) == 4


def test_global_random_is_left_alone():
    random.seed(5)
    before = random.getstate()
    data.split(data.load("iris", samples=30), 0.3)
    data.batch(3, 4, 10, 1)
    assert random.getstate() == before


# ---- CSV: what is read ----------------------------------------------------------------------------------------------


def test_a_file(tmp_path):
    points = data.read_csv(write(tmp_path, "x,label,y\n1,a,2\n3,b,4e1\n"), "label")
    assert points.X == [[1.0, 2.0], [3.0, 40.0]]
    assert (points.columns, points.target, points.classes, points.y) == (("x", "y"), "label", ("a", "b"), [0, 1])


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbfx,y,label\n1,2,a\n3,4,b\n",
        "x,y,label\r\n1,2,a\r\n3,4,b\r\n",
        "x,y,label\r1,2,a\r3,4,b",
        '"x","y","label"\n"1","2","a"\n 3 , "4",b\n',
        "\n\nx,y,label\n\n1,2,a\n , ,\n3,4,b\n\n",
        "x;y;label\n1;2;a\n3;4;b\n",
        "x\ty\tlabel\n1\t2\ta\n3\t4\tb\n",
    ],
    ids=["BOM", "CRLF", "CR", "quoted", "blank lines", "semicolon", "tab"],
)
def test_spellings_of_one_file(tmp_path, text):
    plain = data.read_csv(write(tmp_path, "x,y,label\n1,2,a\n3,4,b\n", "plain.csv"), "label")
    assert data.read_csv(write(tmp_path, text), "label").fingerprint == plain.fingerprint


def test_quoted_cells_may_hold_commas_and_line_ends(tmp_path):
    points = data.read_csv(write(tmp_path, 'x,label\n1,"a, the\nfirst"\n2,b\n'), "label")
    assert points.classes == ("a, the\nfirst", "b")


@pytest.mark.parametrize(
    ("text", "target", "columns"),
    [
        ("1,2,0\n3,4,1\n", "x3", ("x1", "x2")),
        ("1,2,0\n3,4,1\n", "1", ("x2", "x3")),
        ("1,2,cat\n3,4,dog\n", "x3", ("x1", "x2")),
        ("2019,2020,label\n1,2,cat\n3,4,dog\n", "label", ("2019", "2020")),
        ("2019,2020,label\n1,2,3\n3,4,1\n", "3", ("2019", "2020")),
        ("2019,2020,2021\n1,2,3\n3,4,1\n", "2021", ("2019", "2020")),
    ],
)
def test_headers_are_found_or_missed(tmp_path, text, target, columns):
    points = data.read_csv(write(tmp_path, text), target)
    assert points.columns == columns
    assert len(points) == 2


def test_chosen_columns(tmp_path):
    path = write(tmp_path, "id,x,y,label\na1,1,2,0\na2,3,4,1\n")
    assert data.read_csv(path, "label", columns=["y", "x"]).X == [[2.0, 1.0], [4.0, 3.0]]


@pytest.mark.parametrize(
    ("targets", "task", "classes"),
    [
        (["1", "-1", "1.0"], None, ("-1", "1")),
        (["0.5", "1.5", "0.5"], None, ("0.5", "1.5")),
        (["10", "9", "2"] * 2, None, ("2", "9", "10")),
        (["10", "9", "2"], None, None),  # every number comes once: a quantity
        ([str(k) for k in range(21)] * 2, None, None),
        (["0.1", "0.2", "0.3"] * 2, None, None),
        (["0.1", "0.2", "0.3"] * 2, "classification", ("0.1", "0.2", "0.3")),
        (["0", "1"], "regression", None),
        (["10", "9", "many"], None, ("10", "9", "many")),
    ],
)
def test_classes_or_numbers(tmp_path, targets, task, classes):
    text = "x,label\n" + "".join(f"{i},{t}\n" for i, t in enumerate(targets))
    points = data.read_csv(write(tmp_path, text), "label", task=task)
    assert points.classes == classes
    if classes is None:
        assert points.y == [float(t) for t in targets]
    else:
        assert [points.classes[k] for k in points.y] == [t.removesuffix(".0") for t in targets]


# ---- CSV: what is refused -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "points.csv, line 1: the file is empty"),
        ("\n\n", "points.csv, line 1: the file is blank"),
        ("x,label\n", "points.csv, line 1: there is a header but no row"),
        ("x,y,label\n1,2,a\n3,b\n", "points.csv, line 3, column 3: the row has 2 cells, but line 1 has 3"),
        ("x,y,label\n1,2,a,9\n", "points.csv, line 2, column 4: the row has 4 cells"),
        ("x,y,label\n1,2,a\n3,four,b\n", "points.csv, line 3, column 'y': 'four' is not a number"),
        ("x,y,label\n1,2,a\n\n3,1_000,b\n", "points.csv, line 4, column 'y': '1_000' is not a number"),
        ("x,y,label\n1,2,a\n3,,b\n", "points.csv, line 3, column 'y': the cell is empty"),
        ("x,y,label\n1,NaN,a\n3,4,b\n", "points.csv, line 2, column 'y': 'NaN' is not a finite number"),
        ("x,y,label\n1,2,a\n-inf,4,b\n", "points.csv, line 3, column 'x': '-inf' is not a finite number"),
        ("x,y,label\n1,2,a\n1e999,4,b\n", "points.csv, line 3, column 'x': '1e999' is not a finite number"),
        (
            "x,y,label\n1e308,1,a\n-1e308,2,b\n",
            "points.csv, line 2, column 'x': '1e308' is too large; numbers up to 1e+100 can be",
        ),
        ("x,label\n1,0\n2,1\n3,-2e150\n", "points.csv, line 4, column 'label': '-2e150' is too large"),
        ("x;y;label\n1;2,5;a\n3;4,5;b\n", "line 2, column 'y': '2,5' is not a number; write a decimal point, not a comma"),
        ("x,label\n1,5,a\n3,5,b\n", "the row has 3 cells, but line 1 has 2; does it write numbers with a decimal comma?"),
        ("x,label\n1,a\n2,\n", "points.csv, line 3, column 'label': the cell is empty"),
        ("x,label\n1,0\n2,nan\n", "points.csv, line 3, column 'label': 'nan' is not a finite number"),
        ("x,label\n1,a\n2,a\n", "points.csv, lines 2 to 3, column 'label': every row is 'a'; learning needs two classes"),
        ("x,label\n1,7\n", "points.csv, line 2, column 'label': every row is '7'"),
        ("x,labels\n1,a\n2,b\n", "points.csv has no column 'label'; did you mean 'labels'? (columns: x, labels)"),
        ("label\na\nb\n", "points.csv: there is no column besides the target 'label'"),
        (",x,label\n0,1,a\n", "points.csv, line 1, column 1: the column has no name"),
        ("x,x,label\n0,1,a\n", "points.csv, line 1, column 2: the name 'x' is there twice"),
        ('x,label\n1,a\n2,"b\n3,c\n', "points.csv, line 3: the row cannot be read as CSV"),
        (b"x,label\n1,a\n2,caf\xe9\n", "points.csv, line 3: the text is not UTF-8"),
        ("x,label\n1,a\n".encode("utf-16"), "points.csv, line 1: the text is not UTF-8"),
        ('x,label\n1,"a\nb"\noops,c\n', "points.csv, line 4, column 'x': 'oops' is not a number"),
    ],
)
def test_faults_name_file_line_and_column(tmp_path, text, words):
    assert words in message(tmp_path, text)


def test_text_among_numbers_is_a_fault_and_no_class(tmp_path):
    prices = [str(1.5 * i) for i in range(100)]
    prices[49] = "n/a"
    text = "x,price\n" + "".join(f"{i},{price}\n" for i, price in enumerate(prices))
    assert message(tmp_path, text, "price") == (
        "points.csv, line 51, column 'price': 'n/a' is not a number (if the column holds classes, pass --task classification)"
    )
    assert len(data.read_csv(tmp_path / "points.csv", "price", task="classification").classes) == 100
    # Few different numbers are classes, and so is text beside them; so are numbers that are the smaller part.
    for cells, classes in ((["1", "2", "x"] * 9, 3), ([str(i / 2) for i in range(9)] + ["a", "b", "c"] * 3, 12)):
        text = "x,price\n" + "".join(f"{i},{cell}\n" for i, cell in enumerate(cells))
        assert len(data.read_csv(write(tmp_path, text), "price").classes) == classes


def test_a_file_that_is_nearly_there(tmp_path):
    write(tmp_path, "x,label\n1,a\n2,b\n")
    with pytest.raises(DataError, match=r"there is no file .*point\.csv; did you mean 'points\.csv'\?"):
        data.read_csv(tmp_path / "point.csv", "label")
    with pytest.raises(DataError, match=r"there is no file .*zzz\.csv$"):
        data.read_csv(tmp_path / "absent" / "zzz.csv", "label")


@pytest.mark.parametrize(
    ("name", "there", "meant"),
    [
        ("nofile.txt", "one.txt", False),
        ("a.csv", "b.csv", False),
        ("points.txt", "points.csv", True),
        ("Pionts.csv", "points.csv", True),
        ("points-2024.csv", "points.csv", True),
        ("a.csv", "abc.csv", False),
    ],
)
def test_a_file_is_suggested_for_a_near_miss_alone(tmp_path, name, there, meant):
    (tmp_path / there).write_text("x,label\n1,a\n2,b\n")
    with pytest.raises(DataError) as caught:
        data.read_csv(tmp_path / name, "label")
    assert str(caught.value).partition("; ")[2] == (f"did you mean {there!r}?" if meant else "")


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("label", "lat", False),
        ("label", "labels", True),
        ("lable", "label", True),
        ("sepal", "sepal_length", True),
        ("x", "x1", True),
        ("y", "why", False),
        ("x", "y", False),
    ],
)
def test_a_column_is_suggested_for_a_near_miss_alone(tmp_path, word, known, meant):
    assert (f"did you mean {known!r}?" in message(tmp_path, f"{known},z\n1,a\n2,b\n", word)) == meant


def test_an_error_of_settings_has_the_words_of_the_library():
    with pytest.raises(InputError, match=r"^noise is a standard deviation, so it must be 0 or more, not -1$") as caught:
        data.moons(noise=-1)
    error = pickle.loads(pickle.dumps(caught.value))
    assert error.as_typed({"noise": "--noise"}) == "--noise is a standard deviation, so it must be 0 or more, not -1"
    assert error.as_typed({"is": "--is"}) == str(error) == str(caught.value)


def test_more_faults(tmp_path):
    assert "--target" in message(tmp_path, "x,label\n1,a\n2,b\n", None)
    assert "cannot be one of" in message(tmp_path, "x,label\n1,a\n2,b\n", columns=["x", "label"])
    assert "is not a number" in message(tmp_path, "x,label\n1,a\n2,b\n", task="regression")
    with pytest.raises(InputError, match="did you mean 'regression'"):
        data.read_csv(write(tmp_path, "x,label\n1,a\n2,b\n"), "label", task="regresion")
    with pytest.raises(DataError, match="there is no file"):
        data.read_csv(tmp_path / "absent.csv", "label")
    with pytest.raises(DataError, match="is a folder"):
        data.read_csv(tmp_path, "label")


@given(st.text(max_size=40))
def test_any_text_is_a_dataset_or_a_data_error(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("any") / "any.csv"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        points = data.read_csv(path, "1")
    except DataError:
        return
    assert len(points) >= 1


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_survive_the_file(x):
    assert parse_number(repr(x)) == x


# ---- records --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("X", "y", "classes", "words"),
    [
        ([], [], None, "no samples"),
        ([[1.0]], [1.0, 2.0], None, "1 sample but 2 targets"),
        ([[2e100]], [1.0], None, r"sample 0, column 'x': 2e\+100 is too large"),
        ([[1.0]], [-1e300], None, r"sample 0, column 'label': -1e\+300 is too large"),
        ([[1.0, 2.0]], [1.0], None, "2 numbers for 1 column"),
        ([[math.nan]], [1.0], None, "sample 0, column 'x': nan is not a finite number"),
        ([[1.0]], [math.inf], None, "sample 0, column 'label': inf"),
        ([[1.0]], [2], ("a", "b"), "class numbers go from 0 to 1"),
        ([[1.0]], [0], ("a",), "learning needs two classes"),
    ],
)
def test_a_dataset_validates_itself(X, y, classes, words):
    with pytest.raises(DataError, match=words):
        data.Dataset("d", X, y, ("x",), "label", classes)


# ---- split, standardisation, batches --------------------------------------------------------------------------------


def test_split_is_stratified_and_seeded():
    iris = data.load("iris")
    train, test = data.split(iris, 0.2, seed=7)
    assert [test.y.count(k) for k in range(3)] == [10, 10, 10]
    assert len(train) + len(test) == 150
    assert sorted(train.X + test.X) == sorted(iris.X)
    assert data.split(iris, 0.2, seed=7)[1].fingerprint == test.fingerprint
    assert data.split(iris, 0.2, seed=8)[1].fingerprint != test.fingerprint


def test_split_keeps_rare_classes_in_training():
    rare = data.Dataset("rare", [[float(i)] for i in range(11)], [0] * 10 + [1], ("x",), "label", ("a", "b"))
    train, test = data.split(rare, 0.9)
    assert set(train.y) == {0, 1}
    assert set(test.y) == {0}
    assert data.split(rare, 0.0) == (rare, None)
    with pytest.raises(InputError, match="below 1"):
        data.split(rare, 1.0)


def test_regression_splits_too():
    line = data.Dataset("line", [[float(i)] for i in range(10)], [2.0 * i for i in range(10)], ("x",))
    train, test = data.split(line, 0.3)
    assert (len(train), len(test)) == (7, 3)


def test_standardizer():
    X = data.load("iris").X
    unit = data.Standardizer.fit(X, "abcd")
    Z = unit(X)
    for column in zip(*Z, strict=True):
        assert math.fsum(column) / len(column) == pytest.approx(0, abs=1e-12)
        assert math.fsum(z * z for z in column) / len(column) == pytest.approx(1)
    assert data.Standardizer(**unit.as_dict()) == unit
    assert [pytest.approx(row) for row in unit.inverse(Z)] == X
    assert data.Standardizer.identity("abcd")(X) == X


@given(st.lists(st.floats(-1e150, 1e150), min_size=2, max_size=6))
def test_standardised_numbers_are_finite(column):
    try:
        unit = data.Standardizer.fit([[x] for x in column], ["x"])
    except DataError:
        assert max(map(abs, column)) < 1e-280  # too small to divide by
    else:
        assert all(math.isfinite(row[0]) for row in unit([[x] for x in column]))


def test_a_hopeless_column_is_named():
    with pytest.raises(DataError, match="column 'x'"):
        data.Standardizer.fit([[1.7e308], [-1.7e308]], ["x"])
    with pytest.raises(DataError, match="above 0"):
        data.Standardizer((0.0,), (0.0,))


def test_batches_pass_every_sample_once_per_epoch():
    seen = [i for step in range(10) for i in data.batch(step, 3, 10, seed=1)]
    for epoch in range(3):
        assert sorted(seen[10 * epoch : 10 * epoch + 10]) == list(range(10))
    assert seen[:10] != seen[10:20]
    assert data.batch(4, 3, 10, seed=1) == seen[12:15]
    assert data.batch(0, 3, 10, seed=2) != seen[:3]
    assert data.batch(5, 10, 10, seed=1) == list(range(10))
    with pytest.raises(InputError, match="from 1 to 10"):
        data.batch(0, 11, 10, seed=1)


def test_an_error_about_settings_is_one_sentence_everywhere():
    error = SettingError(Setting("batch_size"), " must be at least 2, not 1")
    for each in (error, pickle.loads(pickle.dumps(error))):
        assert each.args == (str(each),) == ("batch_size must be at least 2, not 1",)
        assert each.as_typed({"batch_size": "--batch-size"}) == "--batch-size must be at least 2, not 1"
