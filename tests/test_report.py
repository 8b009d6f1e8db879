"""The page on one or several runs: what it says is in the runs' files, and a browser shows it as it should."""

import base64
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxcnn import cli, data, provenance, report, runs, train
from jaxcnn.report import _run

HOSTILE = '<img src=x onerror=alert(1)>$\\frac$ & "quoted" \''
Edit = Callable[[Any], object]


class Page(HTMLParser):
    """What is in a page: its text, its tags with their attributes, and of each table the texts of its rows' cells."""

    EMPTY = {"meta", "link", "img", "br"}

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.tables: list[list[list[str]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == [], "a tag is not closed"
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attributes}))
        if tag not in self.EMPTY:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attributes}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, text: str) -> None:
        if "style" in self.open:
            return
        self.words.append(text)
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] = " ".join(f"{self.tables[-1][-1][-1]} {text}".split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def table(self, *head: str) -> list[list[str]]:
        """The rows below the one table that begins with these cells."""
        (found,) = [rows for rows in self.tables if rows[0][: len(head)] == list(head)]
        return found[1:]


def pixels(address: str) -> np.ndarray:
    kind, content = address.split(",")
    assert kind == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
        return np.asarray(picture)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two epochs on real digits."""
    folder = tmp_path_factory.mktemp("runs") / "trained"
    network, dataset = runs.network("single_filter"), data.load()
    rule = train.OPTIMIZERS["adam"](0.003)
    config = {
        "net": {"name": network.name, "options": network.options},
        "data": {"name": "mnist-10k", "train_images": 8000, "test_images": 2000, "classes": list(dataset.classes)},
        "seed": 0,
        "ops": "manual",
        "optimizer": "adam",
        "learning_rate": 0.003,
        "epochs": 2,
        "batch_size": 200,
        **provenance.surroundings(),
    }
    recorder = runs.Recorder(runs.claim(folder), config)
    state = train.init_state(jax.jit(network.init)(jax.random.key(0)), rule, jax.random.key(1))
    step = train.make_train_step(network.apply, rule)
    for now in train.fit(state, step, *dataset.train, epochs=2, batch_size=200):
        recorder.add(now)
    recorder.add_test(train.evaluate(network.apply, now.state.params, *dataset.test)[0])
    recorder.end_as("finished")
    return folder


def altered(
    trained: Path, folder: Path, config: Edit = lambda config: None, metrics: Edit = lambda lines: None
) -> Path:
    """A copy of a run, with changes to its configuration and to its lines of metrics."""
    shutil.copytree(trained, folder)
    changed, lines = runs.read_config(folder), runs.read_metrics(folder)
    config(changed)
    metrics(lines)
    runs.write_config(folder, changed)
    runs.write_metrics(folder, lines)
    return folder


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Callable[..., Path]:
    """Makes a copy of the run by another name, with changes as of `altered`."""
    return lambda name, *changes, **more: altered(trained, tmp_path / name, *changes, **more)


@pytest.fixture(scope="module")
def page_of_one(trained: Path) -> Page:
    return Page(report.page([trained]))


def unfinished(lines: list[runs.Metrics]) -> None:
    for name in ("test_loss", "test_accuracy"):
        del lines[-1][name]


def validated(lines: list[runs.Metrics]) -> None:
    for line in lines:
        line |= {"validation_loss": line["loss"] + 0.125, "validation_accuracy": line["accuracy"] - 0.125}
        line["learning_rate"] = 0.003 / line["epoch"]


def make_young(folder: Path) -> None:
    (folder / runs.METRICS).unlink()
    (folder / runs.PARAMETERS).unlink()


# One run


def test_the_numbers_are_those_of_the_runs_files(trained: Path, page_of_one: Page) -> None:
    page = page_of_one
    config, lines = runs.read_config(trained), runs.read_metrics(trained)
    first, last = lines
    assert page.words.count("single_filter on mnist-10k") == 2  # the title and the heading
    assert f"held-out accuracy {last['test_accuracy']:.2%} of 2,000 images; 95% interval" in page.text
    assert f"held-out loss {last['test_loss']:.4f}" in page.text and "Finished after 2 epochs." in page.text
    assert "test accuracy" not in page.text.lower()
    rows = page.table("epoch", "step", "loss", "accuracy", "images/s", "seconds")
    assert rows == [
        [
            str(line["epoch"]),
            str(line["step"]),
            f"{line['loss']:.4f}",
            f"{line['accuracy']:.2%}",
            f"{line['images_per_second']:,.0f}",
            f"{line['seconds']:.1f}",
        ]
        for line in lines
    ]
    settings = dict(page.table("setting", "value"))
    assert settings["net.name"] == "single_filter" and settings["learning_rate"] == "0.003"
    assert settings["data.classes"] == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9" and settings["seed"] == "0"
    assert settings["versions.jax"] == config["versions"]["jax"] and settings["devices"].endswith(" of kind cpu")
    loss, accuracy = [plot["aria-label"] for plot in page.all("div") if plot.get("role") == "img"]
    assert f"{first['loss']:.4f} in epoch 1, {last['loss']:.4f} in epoch 2" in loss
    assert f"held-out {last['test_accuracy']:.2%} at the end" in accuracy


def test_the_predictions_are_those_of_the_parameters(trained: Path, page_of_one: Page) -> None:
    page = page_of_one
    run, held_out = runs.read(trained), data.load().test
    logits, _ = run.network.apply(run.params, jnp.asarray(held_out.images / np.float32(255)))
    probabilities, predictions = np.asarray(jax.nn.softmax(logits)), np.argmax(np.asarray(logits), axis=-1)
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (held_out.labels, predictions), 1)
    shown = [list(map(int, row[1:])) for row in page.table("", "0", "1")]
    np.testing.assert_array_equal(shown, counts)
    wrong = np.flatnonzero(predictions != held_out.labels)
    assert f"Of 2,000 held-out images, {len(wrong)} are classified wrong" in page.text
    often = re.findall(r"(\d) taken for (\d), (\d+) times?", page.text)
    beside = np.sort(np.where(np.eye(10) == 1, 0, counts).ravel())[:-4:-1]
    assert [int(count) for _, _, count in often] == beside.tolist()
    assert all(counts[int(true), int(predicted)] == int(count) for true, predicted, count in often)

    digits = [image for image in page.all("img") if "taken for" in image["alt"]]
    found = [int(re.findall(r"image (\d+)", image["alt"])[0]) for image in digits]
    surest = wrong[np.argsort(-probabilities[wrong].max(axis=-1), kind="stable")][:24]
    assert found == surest.tolist()
    captions = re.findall(r"(\d) → (\d) ([\d.]+)%", page.text)
    for index, image, (true, predicted, percent) in zip(found, digits, captions, strict=True):
        np.testing.assert_array_equal(pixels(image["src"]), held_out.images[index, :, :, 0])
        assert (int(true), int(predicted)) == (held_out.labels[index], predictions[index])
        assert float(percent) == pytest.approx(100 * probabilities[index].max(), abs=0.06)


def test_filters_are_red_above_zero_and_blue_below(trained: Path, page_of_one: Page) -> None:
    page = page_of_one
    kernel = np.asarray(runs.read(trained).params["f"])[:, :, 0, 0]
    (picture,) = [image for image in page.all("img") if image["alt"].startswith("Filter 1 of 1")]
    red, _, blue = np.moveaxis(pixels(picture["src"]).astype(int), -1, 0)
    limit = np.abs(kernel).max()
    clear = np.abs(kernel) > 0.05 * limit
    np.testing.assert_array_equal((red > blue)[clear], (kernel > 0)[clear])
    assert f"−{limit:.2f}" in page.text and "1 filter of 6×6" in page.text


@pytest.mark.parametrize(
    ("name", "options", "first", "count"),
    [
        ("lenet", {"filters": [3, 2], "hidden": 4}, "conv1", 3),
        ("gap_cnn", {"blocks": [{"channels": 2, "kernel": [3, 3]}]}, "block1", 2),
    ],
)
def test_the_first_filters_of_every_net(
    copy: Callable[..., Path], name: str, options: dict[str, Any], first: str, count: int
) -> None:
    network = runs.network(name, options)
    folder = copy(name, lambda config: config.update(net={"name": name, "options": network.options}))
    params = jax.jit(network.init)(jax.random.key(0))
    runs.write_parameters(folder, params)
    filters = _run.first_filters(runs.read(folder).params)
    assert filters is not None
    np.testing.assert_array_equal(np.moveaxis(filters, 0, -1), params[first]["kernel"][:, :, 0])
    assert f"{count} filters of 3×3" in Page(report.page([folder])).text


def test_validation_is_shown_where_there_was_some(copy: Callable[..., Path], trained: Path, page_of_one: Page) -> None:
    page = Page(report.page([copy("validated", metrics=validated)]))
    rows = page.table("epoch", "step", "loss", "accuracy", "validation loss", "validation accuracy", "learning rate")
    lines = runs.read_metrics(trained)
    assert [row[4] for row in rows] == [f"{line['loss'] + 0.125:.4f}" for line in lines]
    assert [row[5] for row in rows] == [f"{line['accuracy'] - 0.125:.2%}" for line in lines]
    assert [row[6] for row in rows] == ["0.003", "0.0015"]
    assert "validation, after the epoch" in page.text and "stroke-dasharray" in page.html
    assert "validation" not in page_of_one.text


def test_a_long_run_is_thinned(copy: Callable[..., Path]) -> None:
    def lengthen(lines: list[runs.Metrics]) -> None:
        lines[:] = [{**lines[-1], "epoch": epoch} for epoch in range(1, 2001)]

    page = Page(report.page([copy("long", lambda config: config.update(epochs=2000), lengthen)]))
    epochs = [int(row[0]) for row in page.table("epoch")]
    assert len(epochs) == 100 and epochs[-1] == 2000 and set(np.diff(epochs)) == {20}
    assert "100 of 2,000 epochs" in page.text and len(page.html) < 200_000


def test_a_result_that_comes_out_otherwise_here_is_said(copy: Callable[..., Path], page_of_one: Page) -> None:
    page = Page(report.page([copy("other", metrics=lambda lines: lines[-1].update(test_accuracy=0.5))]))
    assert "held-out accuracy 50.00% of 2,000 images; 95% interval 47.8–52.2%" in page.text
    assert "The run itself recorded 50.00%" in page.text
    assert "The run itself recorded" not in page_of_one.text


# How runs end, and what they lack


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        ("interrupted", "Interrupted at step 80, in epoch 2 of 7: not trained to the end."),
        ("failed", "Failed after epoch 2 of 7; what is shown is of that epoch."),
        ("running", "Not finished when this page was made, after epoch 2 of 7: still running, or ended without a word"),
        ("paused", "Ended as 'paused', which jaxcnn"),
    ],
)
def test_how_a_run_ended_is_said(copy: Callable[..., Path], trained: Path, status: str, sentence: str) -> None:
    page = Page(report.page([copy(status, lambda config: config.update(status=status, epochs=7), unfinished)]))
    assert sentence in page.text and "Finished" not in page.text
    accuracy = runs.read_metrics(trained)[-1]["test_accuracy"]
    assert f"held-out accuracy {accuracy:.2%} of 2,000 images, computed for this page;" in page.text
    assert "held-out, at the end" not in page.text


def test_a_run_without_an_epoch_behind_it_is_a_page(copy: Callable[..., Path]) -> None:
    folder = copy("young", lambda config: config.update(status="running"))
    make_young(folder)
    page = Page(report.page([folder]))
    for words in (
        "before the end of the first of 2",
        "No epoch has ended yet",
        "This run has no parameters.npz",
        "unknown neither recorded by the run nor to be computed here",
    ):
        assert words in page.text
    assert dict(page.table("setting", "value"))["optimizer"] == "adam"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"name": "mnist", "test_images": 10_000},
            "images of mnist are not prepared or cannot be read: jaxcnn.data.load('mnist')",
        ),
        ({"name": "mnist-20k"}, "the images of mnist-20k are not prepared or cannot be read"),
        ({"test_images": 500}, "mnist-10k holds out 2,000 images here, and held out 500 from this run"),
    ],
)
def test_what_needs_images_that_are_not_here_is_left_out(
    copy: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    change: dict[str, Any],
    reason: str,
) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    folder = copy("elsewhere", lambda config: config["data"].update(change))
    page = Page(report.page([folder]))
    assert str(tmp_path) not in page.html
    assert reason in page.text and "No predictions, so no confusion matrix" in page.text
    assert not any("taken for" in image["alt"] for image in page.all("img"))
    accuracy = runs.read_metrics(folder)[-1]["test_accuracy"]
    called = "test" if change.get("name") == "mnist" else "held-out"
    if change.get("name") != "mnist-20k":
        assert f"{called} accuracy {accuracy:.2%}" in page.text
    assert "1 filter of 6×6" in page.text


# Several runs


def test_runs_are_compared(copy: Callable[..., Path], trained: Path) -> None:
    def change(config: runs.Config) -> None:
        config.update(status="interrupted", epochs=9, precision="bfloat16", learning_rate=1e-4, schedule="cosine")

    folders = [
        trained,
        copy("stopped", change, unfinished),
        copy("young", lambda config: config.update(status="failed")),
    ]
    make_young(folders[2])
    told: list[tuple[int, str]] = []
    page = Page(report.page(folders, tell=lambda done, what: told.append((done, what))))
    assert [done for done, _ in told] == [0, 1, 2, 3] and told[1][1].startswith("stopped")
    last = runs.read_metrics(trained)[-1]
    seconds = sum(line["seconds"] for line in runs.read_metrics(trained))
    one, two, three = page.table("run", "accuracy", "loss")
    low, high = (f"{100 * end:.1f}" for end in _run.Result(last["test_accuracy"], 0, 2000, True).interval)
    assert one == [
        "trained",
        f"{last['test_accuracy']:.2%} {low}–{high}%",
        f"{last['test_loss']:.4f}",
        "2,000 held-out",
        *("finished", "single_filter", "mnist-10k", "float32", "adam", "0.003", "200", "2"),
        f"{last['images_per_second']:,.0f}",
        f"{seconds:.1f} s",
    ]
    assert two[1].startswith(f"{last['test_accuracy']:.2%} *") and two[4:8] == [
        *("interrupted", "single_filter", "mnist-10k", "bfloat16")
    ]
    assert two[9] == "0.0001" and two[11] == "2 of 9"
    assert three[1:5] == ["–", "–", "–", "failed"] and three[11:] == ["0 of 2", "–", "–"]
    assert "* Not recorded by the run" in page.text
    assert page.table("setting", "trained", "stopped", "young") == [
        ["learning_rate", "0.003", "0.0001", "0.003"],
        ["epochs", "2", "9", "2"],
        ["precision", "float32", "bfloat16", "float32"],
        ["schedule", "–", "cosine", "–"],
    ]
    (label,) = [
        plot["aria-label"]
        for plot in page.all("div")
        if plot.get("role") == "img" and "trained: " in plot["aria-label"] and "Loss" in plot["aria-label"]
    ]
    assert "stopped: training" in label and "young" not in label


def test_runs_of_the_same_settings_differ_in_nothing(copy: Callable[..., Path]) -> None:
    page = Page(report.page([copy("one"), copy("two")]))
    assert "Nothing: settings, versions and devices are the same." in page.text
    assert "* Not recorded" not in page.text and "cannot be compared" not in page.text


def test_runs_of_other_data_are_not_held_against_each_other(
    copy: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    other = copy("other", lambda config: config["data"].update(name="mnist", test_images=10_000))
    page = Page(report.page([copy("one"), other]))
    assert "different data sets: their accuracies and losses cannot be compared" in page.text
    assert [row[3] for row in page.table("run", "accuracy")] == ["2,000 held-out", "10,000 test"]


# The page itself


@pytest.fixture(scope="module")
def both_pages(trained: Path, page_of_one: Page, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The page of one run, and of three with a hostile name, hostile settings and missing parts."""

    def spoil(config: runs.Config) -> None:
        config["optimizer"] = config["versions"]["jax"] = HOSTILE
        config["data"]["name"] = "</style><script>alert(2)</script>"
        config[HOSTILE] = {"list": [HOSTILE]}

    root = tmp_path_factory.mktemp("hostile")
    young = altered(trained, root / "young", lambda config: config.update(status=HOSTILE), validated)
    (young / runs.PARAMETERS).unlink()
    return [page_of_one.html, report.page([trained, altered(trained, root / HOSTILE, spoil), young])]


def test_a_page_needs_nothing_beside_it(both_pages: list[str]) -> None:
    for html in both_pages:
        page = Page(html)
        addresses = [tag[name] for _, tag in page.tags for name in ("src", "href", "xlink:href") if name in tag]
        assert addresses and all(address.startswith(("data:", "#")) for address in addresses)
        assert all(address.startswith("#") for address in re.findall(r"url\(([^)]*)", html))
        assert not {"script", "iframe", "object", "embed", "form"} & {tag for tag, _ in page.tags}
        assert not any(name.startswith("on") for _, tag in page.tags for name in tag)
        assert "default-src 'none'" in html and "@import" not in html
        ids = [tag["id"] for _, tag in page.tags if "id" in tag]
        assert len(ids) == len(set(ids))
        inner = {address[1:] for address in [*addresses, *re.findall(r"url\(([^)]*)", html)] if address[0] == "#"}
        named = {tag[by] for _, tag in page.tags for by in ("aria-labelledby", "aria-describedby") if by in tag}
        assert named and inner | named <= set(ids)
    assert len(both_pages[0]) < 150_000 and len(both_pages[1]) < 400_000


def test_a_page_can_be_heard(both_pages: list[str]) -> None:
    for html in both_pages:
        page = Page(html)
        assert page.all("html") == [{"lang": "en"}]
        assert all(image["alt"] for image in page.all("img"))
        assert all(cell.get("scope") in ("row", "col") for cell in page.all("th"))
        assert all(row for rows in page.tables for row in rows)
        levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
        assert levels.count(1) == 1 and levels[0] == 1 and max(np.diff(levels)) <= 1
        assert all(
            "aria-hidden" in svg or svg["class"] != "mark" for svg in page.all("svg") if "class" in svg
        ) and page.all("svg")


def test_what_a_run_says_of_itself_is_only_text(both_pages: list[str]) -> None:
    page = Page(both_pages[1])
    assert [row[0] for row in page.table("run")] == ["trained", HOSTILE, "young"]
    assert [row[8] for row in page.table("run")] == ["adam", HOSTILE, "adam"]
    assert "<img src=x" not in page.html and "<script" not in page.html.lower()
    assert [row[4] for row in page.table("run")] == ["finished", "finished", HOSTILE]


def test_names_tell_runs_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _run.names([tmp_path / "a" / "run", tmp_path / "b" / "run", tmp_path / "c"]) == [
        str(tmp_path / "a" / "run"),
        str(tmp_path / "b" / "run"),
        "c",
    ]
    monkeypatch.chdir(tmp_path)
    assert _run.names([Path(".")]) == [tmp_path.name]
    assert _run.names([Path(os.fsdecode(b"run-\xff"))]) == ["run-�"]


# The command


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs `jaxcnn report` here: its exit code, and what it printed."""

    def call(*arguments: str | Path, cwd: Path) -> tuple[int, str]:
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["jaxcnn", "report", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.run()
        printed = capsys.readouterr()
        assert not (printed.out and printed.err)
        code = end.value.code or 0
        assert isinstance(code, int)
        return code, printed.out + printed.err

    return call


def test_the_command_writes_where_it_says(
    copy: Callable[..., Path], command: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    one, other = copy("one"), copy("other")
    code, out = command("one", cwd=tmp_path)
    written = one / "report.html"
    assert code == 0 and out == f"one/report.html written, {len(written.read_bytes()) / 1000:,.0f} kB\n"
    runs.write_metrics(one, [{**line, "loss": 0.4321} for line in runs.read_metrics(one)])
    assert command("one", cwd=tmp_path)[0] == 0 and "0.4321" in written.read_text()  # an earlier report is replaced
    assert sorted(path.name for path in one.iterdir()) == [
        *("config.json", "metrics.jsonl", "parameters.npz", "report.html")
    ]
    assert command(one, other, cwd=tmp_path)[1].startswith("report.html written")
    assert command(one, other, "--out", "both.html", cwd=tmp_path)[0] == 0
    assert {"both.html", "report.html"} <= {path.name for path in tmp_path.iterdir()}


def test_nothing_else_is_overwritten(
    copy: Callable[..., Path], command: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    copy("one")
    (tmp_path / "mine.html").write_text("<title>mine</title>")
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "link.html").symlink_to(tmp_path / "mine.html")
    for out, message in (
        ("mine.html", "mine.html is no report of jaxcnn's, and is not overwritten"),
        ("link.html", "link.html is no report of jaxcnn's"),
        ("folder.html", "folder.html is a folder"),
        ("one/config.json", "a report is a .html file, got one/config.json"),
        ("none/report.html", "there is no folder none"),
    ):
        code, err = command("one", "--out", out, cwd=tmp_path)
        assert code == 2 and message in err and len(err.splitlines()) == 1, err
    assert (tmp_path / "mine.html").read_text() == "<title>mine</title>"
    assert not (tmp_path / "one" / "report.html").exists()


def spoil_config(folder: Path, text: str) -> None:
    (folder / runs.CONFIG).write_text(text)


def spoil_metrics(folder: Path, text: str) -> None:
    (folder / runs.METRICS).write_text(text)


def set_in_config(folder: Path, **changes: Any) -> None:
    runs.write_config(folder, {**runs.read_config(folder), **changes})


def cut_parameters(folder: Path) -> None:
    whole = (folder / runs.PARAMETERS).read_bytes()
    (folder / runs.PARAMETERS).write_bytes(whole[: len(whole) // 2])


LINE = {"epoch": 1, "step": 1, "loss": 1.0, "accuracy": 0.5, "images_per_second": 1.0, "seconds": 1.0}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: shutil.rmtree(folder), "no folder one|one is no run's folder"),
        (lambda folder: (folder / runs.CONFIG).unlink(), "one is no run's folder: config.json cannot be read"),
        (lambda folder: spoil_config(folder, "{"), "one/config.json is damaged"),
        (lambda folder: spoil_config(folder, '{"format": 2}'), "one/config.json is not of format 1"),
        (
            lambda folder: set_in_config(folder, epochs="two"),
            "one/config.json is damaged: epochs is 'two'",
        ),
        (lambda folder: set_in_config(folder, batch_size=True), "one/config.json is damaged: batch_size is True"),
        (lambda folder: set_in_config(folder, data=[]), "one/config.json is damaged: data.name is None"),
        (
            lambda folder: set_in_config(folder, net={"name": "zebra", "options": {}}),
            "one/config.json names no network known here: unknown net 'zebra'",
        ),
        (lambda folder: spoil_metrics(folder, ""), "one/metrics.jsonl is empty"),
        (lambda folder: spoil_metrics(folder, '{"epoch": 1'), "one/metrics.jsonl is damaged"),
        (lambda folder: spoil_metrics(folder, "[1]\n"), "one/metrics.jsonl is damaged: line 1 is no object"),
        (
            lambda folder: spoil_metrics(folder, json.dumps(LINE) + "\n" + json.dumps({**LINE, "loss": "<b>"})),
            "one/metrics.jsonl is damaged: in line 2, loss is '<b>'",
        ),
        (
            lambda folder: spoil_metrics(folder, json.dumps({**LINE, "test_accuracy": 97})),
            "one/metrics.jsonl is damaged: in line 1, test_accuracy is 97",
        ),
        (lambda folder: (folder / runs.METRICS).unlink(), "one/metrics.jsonl cannot be read"),  # of a finished run
        (cut_parameters, "one/parameters.npz is damaged"),
    ],
)
def test_what_is_damaged_is_one_line(
    copy: Callable[..., Path],
    command: Callable[..., tuple[int, str]],
    tmp_path: Path,
    spoil: Edit,
    message: str,
) -> None:
    spoil(copy("one"))
    code, err = command("one", cwd=tmp_path)
    assert code == 2 and err.startswith("jaxcnn: ") and len(err.splitlines()) == 1, err
    assert re.search(message, err), err
    assert not list(tmp_path.rglob("*.html"))


def test_a_run_is_given_once(
    copy: Callable[..., Path], command: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    copy("one")
    (tmp_path / "same").symlink_to(tmp_path / "one")
    for again in ("one", "one/", "./one/../one", "same"):
        code, err = command("one", again, cwd=tmp_path)
        assert code == 2 and "is given twice" in err, err
    assert command(cwd=tmp_path)[0] == 2
    assert not list(tmp_path.rglob("*.html"))


# In a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
    if path is None:
        pytest.skip("no Chromium on the PATH, as chromium, google-chrome or chromium-browser")
    quiet = ("background-networking", "component-update", "sync")
    arguments = ["--no-sandbox", "--disable-gpu", "--no-first-run", *(f"--disable-{what}" for what in quiet)]
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=arguments)
        yield chromium
        chromium.close()


@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_it_whole(
    both_pages: list[str], browser: Any, trained: Path, tmp_path: Path, width: int
) -> None:
    accuracy = f"{runs.read_metrics(trained)[-1]['test_accuracy']:.2%}"
    for number, html in enumerate(both_pages):
        file = tmp_path / f"{number}.html"
        report.write(file, html)
        complaints: list[str] = []
        requests: list[str] = []
        with browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme="dark" if number else "light"
        ) as context:
            page = context.new_page()
            page.on("console", lambda message, kept=complaints: kept.append(message.text))
            page.on("pageerror", lambda error, kept=complaints: kept.append(str(error)))
            page.on("dialog", lambda dialog, kept=complaints: (kept.append("a dialog"), dialog.dismiss()))
            page.on("requestfailed", lambda request, kept=complaints: kept.append(f"failed: {request.url}"))
            page.on("request", lambda request, kept=requests: kept.append(request.url))
            page.goto(file.as_uri())
            for summary in page.locator("summary").all():
                summary.click()
            assert complaints == []
            assert [url for url in requests if not url.startswith("data:")] == [file.as_uri()]
            assert accuracy in page.inner_text("body")
            assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
            assert page.locator("img").count() > 10 and page.locator(".plot svg").first.bounding_box()["width"] > 300
            assert page.evaluate("document.documentElement.scrollWidth") == width
            background = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert background == ("rgb(18, 23, 29)" if number else "rgb(255, 255, 255)")
