"""Thousands of odd values for all options of all commands and all settings: each is accepted or gets a sentence.

Which options and settings there are is asked of the command and of the configurations themselves. What would be
expensive is cut off at the last moment, and a tiny model really draws.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import resource
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperArgument

from unstir.cli.app import app
from unstir.cli.main import run
from unstir.models.systems import DenoiserConfig
from unstir.networks.config import networks
from unstir.recipes import RECIPES
from unstir.recipes.request import Request
from unstir.sampling.config import SamplingConfig, samplers
from unstir.training.config import Config
from unstir.training.settings import _keys

SECONDS = 10
"""The most that an answer may take."""

BYTES = 8 << 30
"""The most memory that an answer may take beside what is taken before."""

EACH = 30
"""Odd values for an option or a setting."""

# fmt: off
NUMBERS = [
    "0", "-0", "00", "+3", "1", "-1", "3", "1.5", "-1.5", ".5", "5.", "1e3", "1e39", "-1e39", "1e400",
    "1e-39", "1e-400", "nan", "NaN", "inf", "-inf", "infinity", "1_000", "1__0", "1,000", "1,,2", ",",
    "0x10", "0b1", "0o7", "1/2", "1 2", "٣", "²", "½", "Ⅷ", "１２", "−5", "--5", "- 5", "5-", "5%",
    "1e", "e5", "1j", "true", "None", "null", " 7 ", "127", "128", "255", "256", "65536", "1000000",
    "2147483647", "2147483648", "4294967295", "4294967296", "9223372036854775807", "9223372036854775808",
    "-9223372036854775809", "18446744073709551616", "1" + "0" * 30, "9" * 400, "9" * 5000,
    "0." + "3" * 5000, "-" + "9" * 400, "0s", "-5m", "1h30m", "1e3s", "9" * 20 + "d", "99999d",
    "0.0000001s", "½h", "1h1h", "2M", "1.5k", "9G", "1e6M",
]

TEXTS = [
    "", " ", "\t", "\n", "a\nb", "a\rb", "\x07", "\x1b[31mred", "\x7f", "\u202eevil", "\u2028", "\ufeff",
    "💥", "e\u0301", "\udce9", "caf\udce9", "x" * 255, "x" * 300, "写" * 86, "x" * 100_000,
    "long " * 10_000, "=", "a=b", "==", "a.b", ".", "..", "...", "-", "--", "---", "-x", "~", "~nobody/x",
    "$HOME", "$(x)", "%s%n", "{}", "{x}", "\\", "'", '"', "*", "?", "[", "#", "&", ";", "@file", "None",
    "label", "ddim", "unet", "digits", "0,1,2", "0,,1", ",0", "7,seven",
]

PLACES = [
    "runs", "runs/digits", "runs/digits/", "runs/digits/model.safetensors", "runs/digits/config.yaml",
    "runs/plan", "runs/plan/encoder", "runs/dae", "photos", "photos/1.png", "photos/1.png/x", "empty",
    "texts", "texts/letter.txt", "file", "file/x", "missing", "missing/x.png", "x.png", "x.npz", "x.pgn",
    "x.PNG", ".png", "x.", "x..png", "new/", "/dev/null", "/dev/null/x", "/proc/self/mem", "/proc/self/fd",
    "/root/x", "./", "../", "a/" * 2500, "x/" * 100, "loop", "closed", "pipe", "a\nb.png", "a\x1b[31mb.png",
    "caf\udce9.png", "写" * 80 + ".png", "x" * 250 + ".svg", "x.safetensors", "x.gif", "x.jpg", "x.svg",
    "~/x.png", "~nobody/x.png", " x.png", "x.png ", "-x.png",
]

VALUES = [
    "[", "[" * 2000, "]", "{", "{a", "{a: 1}", "{a: [1, {b: 2}]}", "[]", "{}", "[1]", "[1, 2]", "[1, 2, 3]",
    "[[1], [2]]", "[0, 0]", "[-1, 8]", "[8.5, 8]", "[1e39, 8]", "[.inf, 8]", "[true, 8]", "[null, 8]",
    "[a, b]", "['8', '8']", "[1000000, 1000000]", "[1000000000, 1]", "[8, 16, 32, 64, 128, 256]",
    f"[{'8, ' * 50}]", f"[{'8, ' * 20_000}]", "&a [*a]", "[&a 1, *a]", "*a", "&a",
    "!!python/object/apply:os.getcwd []", "!!binary x", "!!binary aGk=", "!x y", "!!set {a, b}",
    "!!omap [a: 1]", "!!int x", "!!float x", "!!int ''", "!!timestamp x", "!!str 5", "!!bool maybe",
    "2026-99-99", "2026-11-27", "2026-11-27T99:99:99", "2026-11-27 12:00:00 +99:99", "1:30:00",
    "190:20:30.15", "1:99", "- a", "? a", "a: b: c", "a: b", "%YAML 2.0", "---", "...", "--- a\n--- b", "|",
    ">", "# c", "~", "yes", "no", "on", "{1: 2}", "{[1]: 2}", "{{a: b}: 2}", "{a: 1, a: 2}", "{<<: 1}",
    "{<<: {kind: unet}}", "'1'", '"\\ud800"', '"\\0"', "{label: {kind: classes}}", "{label: 3}",
    "{label: null}", "{'': {kind: classes}}", "{a.b: {kind: classes}}", "{kind: unet}", "{kind: plain}",
    "{kind: 3}", "{name: ddim}", "{name: []}", "kind", "0.5", "1e-3", "1e-13", "1e13",
    "{encoder: {path: x}}", "{label: {kind: embedding, width: 1000000000}}",
    "{seen: {kind: embedding, of: encoder}}", "{label: {kind: classes, classes: [a, b], dropout: 1}}",
    "\t1", "1\t", "\u0085", "\x00", "\ud800", "9" * 20_000,
]
"""What settings may hold beside all these; some no argument of a process could be."""
# fmt: on

LINES = {
    "train": ["train", "digits"],
    "demo": ["demo"],
    "sample": ["sample", "runs/digits", "-n", "2", "--steps", "2"],
    "evaluate": ["evaluate", "runs/digits", "-n", "2", "--steps", "2"],
    "export": ["export", "runs/digits", "--out", "exported.safetensors"],
    "edit clean": ["edit", "clean", "runs/digits", "photos/1.png", "--sigma", "25"],
    "edit inpaint": [
        *("edit", "inpaint", "runs/digits", "digit.png", "--mask", "mask.png", "--label", "1", "--steps", "2")
    ],
    "edit vary": ["edit", "vary", "runs/digits", "digit.png", "--label", "1", "--steps", "2"],
    "edit deblur": ["edit", "deblur", "runs/digits", "digit.png", "--sigma", "1", "--label", "1", "--steps", "2"],
    "show forward": ["show", "forward", "photos/1.png"],
    "show reverse": ["show", "reverse", "runs/digits"],
    "show levels": ["show", "levels", "runs/digits"],
}
"""A line of each command that asks for something, in which a value is changed; others begin with their name."""


class Reached(Exception):
    """All checks were passed, and what is expensive would begin."""


class Late(BaseException):
    """There was no answer in time."""


def commands(group: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield every command with its name."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*above, name))
        else:
            yield " ".join((*above, name)), command


def options(chance: random.Random) -> Iterator[list[str]]:
    """Yield lines in which one value, or two, of any option or argument are odd."""
    every = [*NUMBERS, *TEXTS, *PLACES]
    for name, command in commands(typer.main.get_command(app)):
        line = LINES.get(name, name.split())
        words, at = name.split(), len(name.split())
        flags = []
        for parameter in command.params:
            odd = chance.sample(every, EACH)
            if parameter.name in ("out", "run", "image", "source", "data", "parts"):
                odd += PLACES + (
                    ["/", "//"] if parameter.name == "out" else []
                )  # all of a disk takes long to read
            elif parameter.name not in ("recipe", "metrics"):
                odd += chance.sample(NUMBERS, EACH)
            if isinstance(parameter, TyperArgument):
                for value in odd:
                    yield [*line[:at], value, *line[at + 1 :]]
                at += 1
            elif not parameter.is_flag:
                flag = parameter.opts[0]
                flags.append(flag)
                for value in odd:
                    joined = f"{flag}={value}" if flag.startswith("--") else f"{flag}{value}"
                    yield [*line, joined] if chance.random() < 0.3 else [*line, flag, value]
        for _ in range(EACH if len(flags) > 1 else 0):
            one, two = chance.sample(flags, 2)
            yield [*line, one, chance.choice(every), two, chance.choice(every)]
        yield from ([*words, *chance.sample(every, 3)] for _ in range(EACH // 4))
    yield from ([value] for value in every)


def settings(chance: random.Random) -> Iterator[list[str]]:
    """Yield lines in which a setting, or two, of any recipe and any kind of its parts are odd."""
    bases: list[tuple[list[str], Config]] = []
    for name, recipe in RECIPES.items():
        if name != "images":
            config = recipe(Request(data="digits"))
            if isinstance(config, Config):
                bases.append((["train", name, "--data", "digits"], config))
    digits = RECIPES["digits"](Request())
    assert isinstance(digits, Config) and isinstance(digits.model, DenoiserConfig)
    for kind in networks:
        model = digits.model.model_copy(update={"network": networks[kind]()})
        bases.append((["train", "digits", "--set", f"network={kind}"], digits.model_copy(update={"model": model})))
    for kind in samplers:
        model = digits.model.model_copy(update={"sampling": SamplingConfig(sampler=samplers[kind]())})
        set_ = ["--set", f"sampling.sampler={kind}"]
        bases.append((["train", "digits", *set_], digits.model_copy(update={"model": model})))
    every, seen = [*NUMBERS, *TEXTS, *VALUES], Counter[str]()
    for line, config in bases:
        keys = _keys(config)
        for key in keys:
            seen[key] += 1
            for value in chance.sample(every, EACH // (2 * seen[key])):
                yield [*line, "--set", f"{key}={value}"]
        for _ in range(EACH // 4):
            one, two = chance.sample(keys, 2)
            yield [*line, "--set", f"{one}={chance.choice(every)}", "--set", f"{two}={chance.choice(every)}"]
            yield [*line, "--set", f"{chance.choice(TEXTS)}={chance.choice(every)}"]
            yield [*line, "--set", f"{one}.{chance.choice(TEXTS)}={chance.choice(every)}", "--smoke"]
    for key in (
        "encoder.training.batch",
        "drawing.network.channels",
        "drawing.told.seen.dropout",
        "drawing.parts",
    ):
        for value in every:
            yield ["train", "digits-variations", "--smoke", "--set", f"{key}={value}"]


def reached(*arguments: Any, **options: Any) -> Any:
    raise Reached


def first_drawn(stream: Any, *arguments: Any, **options: Any) -> Any:
    """Draw what comes first, and write nothing."""
    next(iter(stream))
    raise Reached


def cut_off(patch: pytest.MonkeyPatch) -> None:
    """Let nothing expensive begin; a drawing of few steps is made."""
    from unstir.models.config import ModelConfig

    for name in (
        *("unstir.training.loop.train", "unstir.training.estimate.estimate", "unstir.models.file.save"),
        *("unstir.evaluation.measure.measure", "unstir.evaluation.bits.measure_bits", "unstir.cli.show.write_new"),
        *("unstir.evaluation.figures.reverse.reverse_stages", "unstir.evaluation.figures.levels.level_losses"),
        *("unstir.models.denoiser.DenoiserModel.clean", "unstir.evaluation.figures.schedules.draw_schedules"),
        *("unstir.evaluation.figures.forward.draw_forward", "unstir.models.editing.Editing._edited"),
    ):
        patch.setattr(name, reached)

    def write(stream: Any, *arguments: Any, **options: Any) -> Any:
        return first_drawn(stream)

    patch.setattr("unstir.models.samples.write", write)
    drawing = DenoiserConfig.drawing

    def short(self: ModelConfig, *given: Any, **others: Any) -> Any:
        settings = drawing(self, *given, **others)  # type: ignore[arg-type]
        if settings.evaluations > 50 and sys._getframe(1).f_code.co_name == "led":
            raise Reached
        return settings

    patch.setattr(DenoiserConfig, "drawing", short)

    from unstir.data import load as loading

    load = loading.load
    patch.setattr(loading, "load", lambda data: load(data) if max(data.size or (8,)) <= 64 else reached())
    patch.setattr("unstir.cli.app.app", typer.main.get_command(app))  # made once, not for each line
    for line in LINES.values():  # what is imported at first is not what takes time
        with contextlib.suppress(Reached), contextlib.redirect_stdout(io.StringIO()):
            run(line)


def answer(line: list[str]) -> tuple[str, str]:
    """Return of which kind the answer to a line is, and what was said."""
    said, told = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace") for _ in range(2))
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(told):
            code = run(line)
    except Reached:
        return "accepted", ""
    except Late:
        return "a hang", traceback.format_exc()
    except (Exception, SystemExit):
        return "a traceback", traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    told.flush()
    sentence = told.buffer.getvalue().decode()  # type: ignore[attr-defined]
    if code == 0:
        return "accepted", sentence
    one = sentence.startswith("unstir: ") and sentence.count("\n") == 1 and sentence.endswith((".\n", "?\n"))
    return ("a sentence" if code == 2 and one and len(sentence) < 2000 else f"code {code}, no sentence"), sentence


def late(number: int, frame: Any) -> None:
    raise Late


def odd_places() -> None:
    """Make here what no one expects to be pointed at."""
    Path("loop").symlink_to("loop")
    os.mkfifo("pipe")


@contextlib.contextmanager
def limits() -> Iterator[None]:
    """Let no answer take all memory, and none for ever."""
    before, handler = resource.getrlimit(resource.RLIMIT_AS), signal.signal(signal.SIGALRM, late)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (taken + BYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.signal(signal.SIGALRM, handler)


def answers(lines: Iterator[list[str]]) -> tuple[Counter[str], list[tuple[str, list[str], str]]]:
    """Return how often each kind of answer came, and those that should not."""
    counts, wrong = Counter[str](), []
    for line in lines:
        kind, said = answer(line)
        counts[kind] += 1
        if kind not in ("accepted", "a sentence"):
            wrong.append((kind, [word[:80] for word in line], said))
    return counts, wrong


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits what an answer may take as Linux does")
@pytest.mark.parametrize(("odd", "least"), [(options, 5000), (settings, 4500)])
def test_odd_values_get_an_answer(odd: Any, least: int, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    odd_places()
    cut_off(monkeypatch)
    with limits():
        counts, wrong = answers(odd(random.Random(0)))
    print(f"{odd.__name__}: {dict(counts)}")
    assert sum(counts.values()) >= least
    assert counts["accepted"] > least / 50 and counts["a sentence"] > least / 4
    assert not wrong, "\n".join(f"{kind}: {line}\n{said[-1500:]}" for kind, line, said in islice(wrong, 20))
