"""Files that are damaged, endless or no text: an error that names the file, soon, and never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cli.main import main

TABLE = "\\begin{{tabular}}{{lc}} Method & mIoU \\\\ \\hline {row} \\end{{tabular}}"


def table(row: str) -> str:
    return TABLE.format(row=row)


def tabularray(row: str, options: str = "lc") -> str:
    return f"\\begin{{tblr}}{{{options}}} Method & mIoU \\\\ \\hline {row} \\end{{tblr}}"


WIDE = "a & " * 100_000
# {case: (name of the file, content, what the error says)}
HOSTILE: dict[str, tuple[str, str | bytes, str]] = {
    "macro of itself": ("t.tex", "\\def\\a{\\a}" + table("\\a & 1.0"), "t.tex:1: the macro \\a expands without end"),
    "macros of each other": ("t.tex", "\\def\\a{\\b}\n\\def\\b{x\\a}\n" + table("\\a & 1.0"), "expands without end"),
    "exponential macros": (
        "t.tex",
        "".join(f"\\def\\{c}{{\\{d}\\{d}\\{d}\\{d}}}" for c, d in zip("abcdefghijkl", "bcdefghijklm"))
        + table("\\a & 1.0"),
        "expands without end",
    ),
    "macros that make a long text": (
        "t.tex",
        f"\\def\\b{{{'x' * 10_000}}}"
        + "".join(f"\\def\\{c}{{" + f"\\{d}" * 10 + "}" for c, d in zip("cdef", "bcde"))
        + table("\\f & 1.0"),
        "more text than a paper has",
    ),
    "columns without end": ("t.tex", table(f"{WIDE} 1.0"), "100001 cells; a printed table has at most 10000"),
    "a span without end": (
        "t.tex",
        table("\\multicolumn{100000}{c}{x} & 1.0"),
        "\\multicolumn{100000}: no number of columns",
    ),
    "a wide span": ("t.tex", table("\\multicolumn{1500}{c}{x} & 1.0"), "1501 columns; a printed table has at most 200"),
    "a tall span": ("t.tex", table("\\multirow{99999999999}{*}{x} & 1.0"), "no number of columns or rows"),
    "a span of nothing": ("t.tex", table("\\multicolumn{}{c}{x} & 1.0"), "\\multicolumn{}: no number of columns"),
    "a table without end": (
        "t.tex",
        "\n\\begin{table}\\begin{tabular}{lc} a & 1.0 \\\\",
        "t.tex:2: \\begin{table} has no \\end{table}",
    ),
    "a tabular in a table without end": (
        "t.tex",
        "\\begin{table}\n\\begin{tabular}{lc} a\\end{table}",
        "t.tex:2: \\begin{tabular} has no",
    ),
    "a brace without end": ("t.tex", table("\\textbf{a & 1.0"), "t.tex:1: cannot be parsed as LaTeX"),
    "a formula without end": ("t.tex", table("$a & 1.0"), "cannot be parsed as LaTeX"),
    "a definition without end": ("t.tex", "\\newcommand{\\a}{x\n" + table("a & 1.0"), "t.tex:1: a '{' is never closed"),
    "an option without end": ("t.tex", "\\newcommand{\\a}[1[\n" + table("a & 1.0"), "t.tex:1: a '[' is never closed"),
    "braces in braces": ("t.tex", table(f"{'{' * 20_000}a{'}' * 20_000} & 1.0"), "nested deeper than any table"),
    "a wide cell of tabularray": (
        "t.tex",
        tabularray("\\SetCell[c=5000]{c} a & 1.0"),
        "\\SetCell{c=5000}: no number of",
    ),
    "a tall cell of tabularray": (
        "t.tex",
        tabularray("\\SetCell[r=999999999]{c} a & 1.0"),
        "no number of columns or rows",
    ),
    "tabularray without options": ("t.tex", "\\begin{tblr}\\end{tblr}", "t.tex:1"),
    "options of tabularray without end": (
        "t.tex",
        tabularray("a & 1.0", "cell{1}{1}={c=2"),
        "cannot be parsed as LaTeX",
    ),
    "no table": ("t.tex", "\\section{Nothing}", "t.tex: no table in it"),
    "an empty table": ("t.tex", "\\begin{tabular}{lc}\\end{tabular}", "no rows of numbers"),
    "no text": ("t.tex", b"\x89PNG\r\n\x1a\n\xff\xfe\xfd", "t.tex:1: is not UTF-8 text"),
    "an older text": (
        "t.tex",
        "\nM\xe9thode".encode("latin1"),
        "t.tex:2: is not UTF-8 text; if it is an older paper: iconv",
    ),
    "NUL": ("t.tex", b"a\nb\0c", "t.tex:2: contains a NUL character"),
    "UTF-16": ("t.csv", "Method,mIoU\na,1.0\n".encode("utf-16-le"), "t.csv:1: contains a NUL character"),
    "a large file": ("t.tex", b"x" * 5_000_001, "t.tex: 5 MB; a paper's text has at most 5"),
    "an empty file": ("t.tex", "", "no table in it"),
    "an empty page": ("t.html", "", "t.html: cannot be parsed as HTML"),
    "no page": ("t.html", "just words", "no table in it"),
    "a page's span without end": (
        "t.html",
        "<table><tr><td colspan=1000000>a<td>1.0</table>",
        "t.html:1: colspan '1000000' is no span",
    ),
    "a page's wide span": ("t.html", "<table><tr><td colspan=1000>a<td>1.0</table>", "1001 columns"),
    "a page's tall span": (
        "t.html",
        "<table><tr><td rowspan=99999999>a<td>1.0</table>",
        "rowspan '99999999' is no span",
    ),
    "a page's odd span": ("t.html", "<table><tr><td rowspan='x'>a<td>1.0</table>", "rowspan 'x' is no span"),
    "a page's columns without end": ("t.html", f"<table><tr>{'<td>1.0' * 100_000}</table>", "100000 columns"),
    "a page's rows without end": ("t.html", f"<table>{'<tr><td>a<td>1' * 6_000}</table>", "10002 cells"),
    "a CSV file's columns": ("t.csv", "1," * 100_000, "100001 columns"),
    "a CSV file's rows": ("t.csv", "a,1.0\n" * 6_000, "cells; a printed table has at most 10000"),
    "a CSV file's quote": ("t.csv", 'Method,mIoU\n"a,1.0\n', "t.csv:2: cannot be parsed as CSV"),
    "a CSV file's field": ("t.csv", f"Method,mIoU\n{'a' * 200_000},1.0\n", "cannot be parsed as CSV: field larger"),
    "a Markdown file's columns": ("t.md", "|a" * 100_000 + "\n" + "|-" * 2_000 + "\n", "100000 columns"),
    "an unknown format": ("t.docx", "Method", "'.docx' is no format of tables; known are .tex"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_a_clear_error(name: str, tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]):
    file, content, message = HOSTILE[name]
    monkeypatch.chdir(tmp_path)
    Path(file).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main(["new", "table", "--from", file, "--out", "out.yaml"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert file in error
    assert len(error) < 2_000
    assert not Path("out.yaml").exists()


def test_files_outside_the_folder_and_of_themselves_are_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "secret.tex").write_text("secret & 9.9")
    paper = tmp_path / "paper"
    paper.mkdir()
    inputs = ["../secret", str(tmp_path / "secret.tex"), "t", "none", "link", "."]
    (paper / "link.tex").symlink_to(tmp_path / "secret.tex")
    (paper / "t.tex").write_text("\n".join(f"\\input{{{name}}}" for name in inputs) + table("a & 1.0"))
    assert main(["new", "table", "--from", str(paper / "t.tex"), "--out", str(tmp_path / "out.yaml")]) == 0
    error = capsys.readouterr().err
    assert [f"t.tex:{i}: \\input{{{name}}} was not read" in error for i, name in enumerate(inputs, 1)] == [True] * 6
    assert "secret &" not in (tmp_path / "out.yaml").read_text()


def test_a_file_that_is_not_there_and_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["new", "table", "--from", str(tmp_path / "none.tex")]) == 2
    assert "none.tex: there is no such file" in capsys.readouterr().err
    (tmp_path / "folder.tex").mkdir()
    assert main(["new", "table", "--from", str(tmp_path / "folder.tex")]) == 2
    assert "folder.tex: cannot be read: Is a directory" in capsys.readouterr().err


@pytest.mark.parametrize(("package", "file"), [("pylatexenc", "t.tex"), ("lxml", "t.html")])
def test_a_missing_package_is_named(package: str, file: str, tmp_path: Path, monkeypatch, capsys):
    for module in (package, f"{package}.latexwalker", f"{package}.macrospec"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    (tmp_path / file).write_text(table("a & 1.0") if file == "t.tex" else "<table><tr><td>Method<tr><td>a</table>")
    assert main(["new", "table", "--from", str(tmp_path / file), "--out", str(tmp_path / "out.yaml")]) == 3
    assert f"needs the package {package}: pip install 'segmentation-harness[scaffold]'" in capsys.readouterr().err


def test_a_command_that_is_an_argument_itself_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "t.tex").write_text(table("a\\textbf\\ding & 1.0"))
    assert main(["new", "table", "--from", str(tmp_path / "t.tex"), "--out", str(tmp_path / "out.yaml")]) == 0
    assert "the command \\ding has no argument and is left out" in capsys.readouterr().err


def test_options_of_a_printed_table_need_one(capsys: pytest.CaptureFixture[str]):
    assert main(["new", "table", "--label", "tab:one"]) == 2
    assert "about the file of --from FILE" in capsys.readouterr().err
    assert main(["new", "table", "--from", "t.tex", "--recipe", "a/b"]) == 2
    assert "leave --recipe, --method and --backbone out" in capsys.readouterr().err
