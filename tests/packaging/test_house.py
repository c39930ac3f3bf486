"""Limits that keep the house one an engineer finds the way in: sizes of files, comments, plain words."""

import ast
import io
import re
import statistics
import tokenize
from collections import Counter, defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("harness", "methods", "baselines", "datasets")
FILES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

COMMENTED = ("methods/share", "harness/training", "harness/boundary", "harness/counting", "harness/measurement")
"""Rooms whose code is dense enough to need at least 6 comment lines per 100 lines of code."""

HOUSE_WORDS = {
    r"\bsample deviation\b": "standard deviation",
    r"\bopen gates\b": "expected L0 norm",
    r"\bstand-ins?\b(?!s of| for)": "untrained model with realistic sparsity",
    r"\brows of tokens\b": "tokens",
    r"\bshares? of (?:the )?(?:active )?(?:rows|tokens)\b": "fraction of active tokens",
    r"\bas a share of\b": "as a fraction of",
    r"\bunseen operators?\b": "unsupported operators",
    r"\bat (?:its|their|a) own pace\b": "with a learning rate of its own",
    r"\b(?:timed|measured) in turn\b": "interleaved",
    r"\bposes? (?:the|a) (?:problem|tasks?)\b": "defines",
    r"\bsettles? the mask\b|\bgates settle\b": "binarise the mask",
    r"\banew\b": "again",
    r"\bwhat (?:it|they|he) tells?\b": "says",
}
"""Words of this house to the field's."""

OUTPUT = re.compile(r"mean and sample deviation over seeds")
"""Titles in pictures, whose bytes stay."""


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def docstrings(path: Path) -> list[tuple[int, str]]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)]
    return [(node.body[0].lineno, text) for node in nodes if (text := ast.get_docstring(node)) is not None]


def test_files_hold_one_subject_and_fit_a_few_screens() -> None:
    lines = {relative(path): path.read_text().count("\n") for path in FILES}
    assert {name: count for name, count in lines.items() if count > 350} == {}
    assert 100 <= statistics.median(lines.values()) <= 180


def test_few_functions_are_cut_out_only_to_be_called_once() -> None:
    functions, once = 0, []
    for path in FILES:
        tree = ast.parse(path.read_text())
        names = Counter(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
        names += Counter(node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                functions += 1
                if node.name.startswith("_") and not node.name.startswith("__") and names[node.name] <= 1:
                    once.append(f"{relative(path)}:{node.lineno} {node.name}")
    assert len(once) <= 0.15 * functions, f"{len(once)} of {functions}: {once}"


@pytest.mark.parametrize("room", COMMENTED)
def test_dense_rooms_have_comments(room: str) -> None:
    comments = code = 0
    lines: dict[Path, set[int]] = defaultdict(set)
    layout = (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    for path in FILES:
        if relative(path).startswith(f"{room}/"):
            for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
                if token.type == tokenize.COMMENT:
                    comments += 1
                elif token.type not in layout:
                    lines[path] |= set(range(token.start[0], token.end[0] + 1))
            texts = sum(len(text.splitlines()) for _, text in docstrings(path))
            code += len(lines[path]) - texts
    assert 100 * comments >= 6 * code, f"{comments} comments in {code} lines of code"


def test_docstrings_name_their_subject() -> None:
    found = [
        f"{relative(path)}:{line} {text.splitlines()[0]}"
        for path in FILES
        for line, text in docstrings(path)
        if re.match(r"(What|How|Which|Where|Whose)\b", text)
    ]
    assert found == []


@pytest.mark.parametrize("word", HOUSE_WORDS)
def test_words_are_the_fields(word: str) -> None:
    found = [
        f"{relative(path)}:{number} {line.strip()}"
        for path in [*FILES, *PAGES]
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(word, OUTPUT.sub("", line), flags=re.IGNORECASE)
    ]
    assert found == [], f"say {HOUSE_WORDS[word]}"
