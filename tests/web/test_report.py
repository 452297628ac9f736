"""The report: one file that needs nothing beside itself, says what was found, and names what it leaves out."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from page_reader import Page
from PIL import Image

from unstir.cli.main import run
from unstir.doctor.examine import Diagnosis
from unstir.doctor.finding import Finding
from unstir.networks.told import Told
from unstir.web.report import examined as asking
from unstir.web.report import page as making
from unstir.web.report.examined import Examined, examined
from unstir.web.report.page import number, page
from unstir.web.report.pictures import shown
from unstir.web.report.record import Picture, Record, record
from unstir.web.report.tables import differences, metric_rows

Found = dict[str, tuple[Record, Examined]]
Pages = Callable[..., str]

CHROMIUM = Path("/usr/bin/chromium")
ODD = "<script>alert(1)</script>"


@pytest.mark.parametrize("names", [("a",), ("a", "b"), ("dae",)])
def test_a_page_is_well_formed_and_loads_nothing(names: tuple[str, ...], pages: Pages) -> None:
    text = pages(*names)
    read = Page(text)
    assert read.wrong == []
    assert len(read.ids) == len({*read.ids})
    assert "link" not in read.tags and "iframe" not in read.tags
    assert read.tags.count("script") == 1 and not any(tag == "script" for tag, _ in read.loads)
    pictures = [address for tag, address in read.loads if tag == "img"]
    assert pictures and all(address.startswith("data:image/") for address in pictures)
    places = {address.removeprefix("#") for tag, address in read.loads if tag != "img"}
    assert places <= {*read.ids}  # nothing but places of the page itself
    assert {*re.findall(r"url\(#([\w-]+)\)", text)} <= {*read.ids} and "@import" not in text
    assert "http:" not in text and "https:" not in text
    assert len(text) < 1_000_000


def test_figures_are_those_of_the_log_and_of_what_was_saved(pages: Pages, found: Found) -> None:
    read, (of_run, answer) = Page(pages("a")), found["a"]
    last = of_run.log[-1]
    assert f"{number(last['loss'])} at {last['images']:,} images" in read.sections["losses"]
    measured = [line for line in of_run.log if "validation_loss" in line][-1]
    assert f"{number(measured['validation_loss'])} at {measured['images']:,}" in read.sections["losses"]
    assert of_run.position is not None and f"{of_run.position.images:,}, " in read.sections["overview"]
    assert f"{answer.parameters:,}" in read.sections["overview"]
    (row,) = [row for row in read.rows["metrics"] if row[0].startswith("fcd")]
    assert row[1:3] == ["30", "classifier, digits"]
    said = row[3].split()
    assert said[:4] == ["12.35", "11.5", "to", "13.25"] and "images: 0.628" in " ".join(said)
    assert "ddim eta 0, 2 steps, guidance 0.5, seed 3" in row[3]
    assert [row for row in read.rows["tables"]] == [["", "2", "4"], ["ddim eta=0", "71.2", "33.5"]]
    assert answer.neighbours is not None and answer.diagnosis is not None
    assert number(answer.neighbours.held_out.distance) in read.sections["neighbours"]
    for finding in answer.diagnosis.findings:
        assert finding.what in read.sections["doctor"] and finding.evidence in read.sections["doctor"]
    assert yaml.safe_load(of_run.text) == yaml.safe_load(
        read.sections["configuration"].partition("config.yaml")[2]
    )
    assert "left-out" not in read.sections


def test_two_runs_differ_in_what_was_changed(pages: Pages, found: Found) -> None:
    read = Page(pages("a", "b"))
    assert read.rows["configuration"] == [
        ["setting", "a", "b"],
        ["training.learning_rate", "0.001", "0.0123"],
        ["training.clip", "1.0", "2.5"],
    ]
    assert differences([found["a"][0], found["a"][0]]) == []
    other = found["a"][0].model.model_copy(update={"precision": "fp16"})
    assert differences([found["a"][0], replace(found["b"][0], model=other, begun=None)]) == [
        ("precision", [found["a"][0].model.precision, "fp16"])
    ]


def test_only_figures_of_as_many_images_share_a_row(found: Found) -> None:
    mine = found["a"][0]
    figures = mine.evaluations["ddim-2-n30-seed3.json"]

    def rows(**changed: object) -> list[list[list[float]]]:
        other = replace(found["b"][0], evaluations={"x.json": {**figures, **changed}})
        return [[[one.value for one in cell] for cell in row.cells] for row in metric_rows([mine, other])]

    assert rows(fcd=9.0) == [[[12.3456], [9.0]]]
    for changed in ({"samples": 40}, {"data": "mnist"}):
        assert rows(fcd=9.0, **changed) == [[[12.3456], []], [[], [9.0]]]
    figures = {**figures, "recall": 0.5}
    del figures["fcd"]
    mine = replace(mine, evaluations={"x.json": figures})
    assert rows(backbone_key="another") == [[[0.5], []], [[], [0.5]]]
    # Better is what lies apart by more than chance.
    for high, best in ((11.4, 1), (11.6, None)):
        values = {**figures, "fcd": 11.0, "fcd_low": 10.0, "fcd_high": high}
        other = replace(mine, evaluations={"x.json": values})
        assert metric_rows([found["a"][0], other])[0].best == best


def test_text_of_data_is_text(found: Found) -> None:
    of_run, answer = found["a"]
    told = {"label": Told(kind="classes", classes=(ODD, "'\"&"), dropout=0.1)}
    finding = Finding(ODD, ODD, ODD, ODD, ODD, 0.9, picture=_figure)
    table = replace(of_run.tables[0], cells=[replace(cell, way=ODD) for cell in of_run.tables[0].cells])
    odd = replace(
        of_run,
        run=Path("runs/$x$<b>&"),
        model=of_run.model.model_copy(update={"told": told}),
        text=ODD,
        log=[{**line, ODD: 1.0} for line in of_run.log],
        evaluations={ODD: {**of_run.evaluations["ddim-2-n30-seed3.json"], "data": ODD}},
        tables=[table],
    )
    answered = replace(answer, levels=None, diagnosis=Diagnosis([finding], [ODD]), left_out={ODD: ODD})
    text = page([(odd, answered)] * 2)
    read = Page(text)
    assert read.wrong == [] and read.tags.count("script") == 1 and ODD not in text
    assert f"{ODD}, '\"&" in read.sections["overview"] and "$x$<b>&" in read.sections["overview"]
    for section in ("doctor", "losses", "metrics", "tables", "configuration", "left-out"):
        assert ODD in read.sections[section], section


def _figure() -> object:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([0, 1])
    return figure


def test_what_a_model_cannot_do_is_left_out_and_named(pages: Pages, found: Found) -> None:
    read = Page(pages("dae"))
    assert {"reverse", "levels", "neighbours", "metrics", "tables"}.isdisjoint(read.ids)
    assert {"overview", "doctor", "losses", "configuration"} <= {*read.ids}
    assert (
        "This model is a denoising autoencoder, trained at one level of noise, and cannot predict"
        in (read.sections["left-out"])
    )
    for what in ("The film from noise to images", "The loss by noise level", "The nearest training images"):
        assert f"{what}: This model is a denoising autoencoder" in read.sections["left-out"]
    assert "Metrics: this model is a denoising autoencoder" in read.sections["left-out"]
    assert "Not looked at, as the model cannot do what it takes: sampler" in read.sections["doctor"]
    assert "restored" in read.sections["overview"]


def test_a_model_file_alone(ran: Path) -> None:
    of_file = record(ran / "a" / "model.safetensors")
    answer = examined(of_file)
    read = Page(page([(of_file, answer)]))
    assert read.wrong == [] and {"overview", "reverse", "left-out"} <= {*read.ids}
    assert {"doctor", "losses", "levels", "configuration"}.isdisjoint(read.ids)
    assert "names no data" in read.sections["left-out"] and "a model file has none" in read.sections["left-out"]
    assert "Samples, drawn now" in read.sections["overview"]
    assert answer.film is not None and answer.film.uri.startswith("data:image/webp;")


def test_pictures_over_training_are_few_and_those_at_the_ends_are_there(found: Found, tmp_path: Path) -> None:
    of_run, answer = found["a"]
    many = []
    for i in range(40):
        many.append(Picture(i * 1000, tmp_path / f"{i}.png"))
        Image.new("L", (1500, 30), i).save(many[-1].path)
    plain = replace(of_run, pictures=many, log=[], tables=[]), replace(answer, levels=None)
    read = Page(page([plain]))
    said = re.findall(r"after ([\d,]+) images", read.sections["training"])
    assert len(said) == 12 and said[0] == "0" and said[-1] == "39,000"


def test_pictures_stay_sharp_where_small_and_become_small_where_large() -> None:
    random = np.random.default_rng(0)
    exact = Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    assert shown(exact).uri.startswith("data:image/png;")
    large = shown(Image.fromarray(random.integers(0, 256, (900, 1800, 3), dtype=np.uint8)), 600)
    assert (large.width, large.height) == (600, 300) and large.uri.startswith("data:image/webp;")
    assert len(large.uri) < 300_000


@pytest.fixture
def here(ran: Path, found: Found, pages: Pages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run, whose model has answered already, and whose page is made."""
    shutil.copytree(ran / "a", tmp_path / "runs" / "a")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(asking, "examined", lambda *given, **how: found["a"][1])
    monkeypatch.setattr(making, "page", lambda given: pages("a"))
    return tmp_path


def test_the_command_says_where_the_page_is_and_overwrites_none(
    here: Path, found: Found, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["report", "runs/a"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "The report is in runs/a/report.html"
    first = Path("runs/a/report.html").read_bytes()
    assert run(["report", "runs/a", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["out"] == "runs/a/report-2.html" and said["bytes"] == Path(said["out"]).stat().st_size
    assert said["runs"][0]["run"] == "runs/a" and said["runs"][0]["left_out"] == {}
    assert [one["cause"] for one in said["runs"][0]["findings"]] == _causes(found["a"][1])
    assert Path("runs/a/report.html").read_bytes() == first
    assert run(["report", "runs/a", "--out", "runs/a/report.html"]) == 2
    assert "is there already" in capsys.readouterr().err


def _causes(answer: Examined) -> list[str]:
    assert answer.diagnosis is not None
    return [finding.cause for finding in answer.diagnosis.findings]


def test_of_several_processes_the_first_writes(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from unstir import processes

    monkeypatch.setattr(processes, "processes", lambda: type("Rank", (), {"is_main_process": False})())
    assert run(["report", "runs/a"]) == 0
    assert not Path("runs/a/report.html").exists()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("report runs/missing", "There is no run folder or model file at runs/missing"),
        ("report runs/a runs/missing", "There is no run folder or model file at runs/missing"),
        ("report runs", "is no run folder"),
        ("report runs/a --data missing", "'missing'"),
        ("report runs/a --out page.pdf", "--out page.pdf must end in .html or .htm"),
        ("report", "Missing argument"),
    ],
)
def test_wrong_input(line: str, expected: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(line.split()) == 2
    said = capsys.readouterr().err
    assert said.startswith("unstir: ") and said.count("\n") == 1 and expected in said
    assert not [*here.rglob("*.html")]


def test_damaged_files_beside_a_run_are_left_out(here: Path) -> None:
    for name, text in {"x.json": "{", "y.json": "[1]", "z.csv": "run,way\n1,2\n", "w.csv": ""}.items():
        (Path("runs/a/evaluations") / name).write_text(text)
    kept = record(Path("runs/a"))
    assert [*kept.evaluations] == ["ddim-2-n30-seed3.json"] and [one.name for one in kept.tables] == ["comparison"]


def test_images_that_have_gone_leave_out_what_needs_them(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Path("runs/a/config.yaml")
    values = yaml.safe_load(config.read_text())
    values["data"]["source"] = "gone"
    config.write_text(yaml.safe_dump(values))
    answer = examined(record(Path("runs/a")))
    assert answer.diagnosis is None and answer.film is not None
    assert [*answer.left_out] == ["The examination", "The loss by noise level", "The nearest training images"]
    assert all("gone" in why for why in answer.left_out.values())


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no browser at {CHROMIUM}")
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_scrolls_sideways(width: int, pages: Pages, tmp_path: Path) -> None:
    root = "document.documentElement"
    measure = f"<script>document.title = `${{{root}.scrollWidth}} in ${{{root}.clientWidth}}`</script>"
    policy = re.compile('<meta http-equiv="Content-Security-Policy"[^>]*>')
    for names in (("a",), ("a", "b"), ("dae",)):
        text = policy.sub("", pages(*names))  # which would let nothing be measured
        (tmp_path / "page.html").write_text(text.replace("</body>", f"{measure}</body>"))
        frame = f'<iframe id="page" src="page.html" style="border:0;width:{width}px;height:900px"></iframe>'
        tell = "page.onload = () => document.title = page.contentDocument.title"
        (tmp_path / "frame.html").write_text(f"<body>{frame}<script>{tell}</script></body>")
        answer = subprocess.run(
            [
                *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
                *("--allow-file-access-from-files", "--virtual-time-budget=5000", "--window-size=1400,1000"),
                *(f"--user-data-dir={tmp_path / 'browser'}", "--dump-dom", (tmp_path / "frame.html").as_uri()),
            ],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert re.findall(r"<title>(.*?)</title>", answer.stdout) == [f"{width} in {width}"], names
