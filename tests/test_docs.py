"""The documents: their Python runs and is typed, links and tables are right, and the site builds without a warning."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from device_app.audio.samples import SAMPLE_RATE, read
from device_app.cli.terminal.recording import INCOMPLETE, NOTHING
from device_app.paths import RECORDINGS
from device_app.recording.quality import Quality, problems
from editing.methods import METHODS
from tests.conftest import REPOSITORY
from tests.device_app.cli.test_cli import commands

DOCS = REPOSITORY / "docs"
MYPY = ("-m", "mypy", "--strict", "--config-file=", f"--cache-dir={REPOSITORY / '.mypy_cache' / 'docs'}")
ARPA = """
\\data\\
ngram 1=2

\\1-grams:
-0.5 hello
-0.5 </s>

\\end\\
"""
TEXTS = [
    *(REPOSITORY / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted(DOCS.rglob("*.md")),
]


def python_of(document: Path) -> str:
    """All fenced Python of a document, as one module: a later block may use the names of an earlier one."""
    return "\n".join(re.findall(r"^```python\n(.*?)^```", document.read_text("utf-8"), re.MULTILINE | re.DOTALL))


WITH_PYTHON = [path for path in TEXTS if python_of(path)]


def code_of(document: Path) -> str:
    """The code of a document: fenced and indented blocks, and what stands between backticks."""
    text = document.read_text("utf-8")
    fenced = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    indented = re.findall(r"^ {4}.*", text, re.MULTILINE)
    return "\n".join([*fenced, *indented, *re.findall(r"`([^`\n]+)`", text)])


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """A folder outside the repository with a module for each document that has Python."""
    folder = tmp_path_factory.mktemp("scripts")
    for path in WITH_PYTHON:
        (folder / f"{path.stem.lower().replace('-', '_')}_md.py").write_text(python_of(path), "utf-8")
    return folder


def run_outside(folder, *arguments, **environment):
    """Runs Python in a folder outside the repository, which it finds as an installed package."""
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
        timeout=300,
    )


def test_the_readme_and_the_page_on_python_have_python():
    assert {"README.md", "python.md", "merge-methods.md"} <= {path.name for path in WITH_PYTHON}


@pytest.fixture
def recordings(tmp_path):
    """The files that the examples name."""
    audio = read(RECORDINGS / "ss-noservice.flac")
    (tmp_path / "talk.flac").write_bytes((RECORDINGS / "ss-noservice.flac").read_bytes())
    # Ends during the last word's silence: only `Stream.finish` returns the final text.
    soundfile.write(tmp_path / "talk.wav", audio[: round(4.6 * SAMPLE_RATE)], SAMPLE_RATE, subtype="PCM_16")
    (tmp_path / "words.arpa").write_text(ARPA, "utf-8")
    return tmp_path


@pytest.mark.parametrize("document", WITH_PYTHON, ids=lambda path: path.name)
def test_the_python_of_a_document_runs(document, recordings):
    done = run_outside(recordings, "-W", "error", "-c", python_of(document), ASR_EDGE_HOME=str(recordings / "home"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    if "talk.flac" in python_of(document):
        assert "not in service" in done.stdout
    if "finish()" in python_of(document):
        (final,) = re.findall(r"^final: (.*)", done.stdout, re.MULTILINE)
        assert final.endswith("try again.")


def test_the_python_of_all_documents_is_typed(scripts):
    """As a user's code would be checked: outside the repository, without our settings."""
    modules = sorted(path.name for path in scripts.glob("*.py"))
    done = run_outside(scripts, *MYPY, *modules)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_type_checker_sees_the_types_of_the_packages(tmp_path):
    (tmp_path / "wrong.py").write_text("from device_app import my_model\nmy_model(version='three')\n")
    done = run_outside(tmp_path, *MYPY, "wrong.py")
    assert "arg-type" in done.stdout


def test_methods_merge_as_design_says():
    from editing import METHODS as PUBLIC

    merged = PUBLIC["ties"]([{"layer.weight": np.array([1.0, 4.0], np.float32)}], lam=0.6, density=0.5)
    np.testing.assert_allclose(merged["layer.weight"], [0, 2.4], rtol=1e-6)


def test_help_imports_neither_numpy_nor_torch():
    code = (
        "import sys\nfrom device_app.cli import main\nsys.argv = ['asr-edge', '--help']\n"
        "try:\n    main()\nexcept SystemExit as done:\n    assert not done.code\n"
        "print('loaded:', *sorted({'numpy', 'torch', 'onnxruntime'} & set(sys.modules)))"
    )
    done = run_outside(REPOSITORY, "-c", code)
    assert "Usage" in done.stdout
    assert done.stdout.splitlines()[-1].strip() == "loaded:"


def methods_table():
    rows = ["| method | | settings | source | held to |", "|---|---|---|---|---|"]
    for method in METHODS.values():
        settings = ", ".join(f"{name.replace('lam', 'lambda')} {value}" for name, value in method.settings.items())
        rows.append(f"| `{method.name}` | {method.summary} | {settings} | {method.paper} | {method.oracle} |")
    return "\n".join(rows)


def test_the_table_of_merge_methods_is_that_of_the_registry(request):
    """`--update-golden` writes the table anew."""
    page = DOCS / "merge-methods.md"
    text = page.read_text("utf-8")
    (table,) = re.findall(r"^\| method \|.*?(?=\n\n)", text, re.MULTILINE | re.DOTALL)
    if request.config.getoption("--update-golden"):
        page.write_text(text.replace(table, methods_table()), "utf-8")
    else:
        assert table == methods_table()


def test_every_command_in_the_docs_exists():
    known = {path for path, _ in commands()}
    for document in TEXTS:
        if document.name == "CHANGELOG.md":
            continue  # it names commands of earlier versions
        for words in re.findall(r"asr-edge ([a-z]+(?: [a-z]+)?)", code_of(document)):
            parts = tuple(words.split())
            assert parts in known or parts[:1] in known, f"{document.name}: {words}"


def test_the_page_on_recording_explains_every_report():
    """Each problem of a recording, by the words with which its message begins."""
    rows = re.findall(r"^\| ([^|]+) \|", (DOCS / "record.md").read_text("utf-8"), re.MULTILINE)
    quiet = Quality(clipped=1.0, level_dbfs=-90.0, snr_db=0.0, speech_s=0.1, cut_start=True, cut_end=True)
    messages = [*problems(quiet, "a b", "c d"), *problems(replace(quiet, speech_s=0.0)), INCOMPLETE, NOTHING]
    assert len(messages) == 10
    for message in messages:
        assert any(message.lower().startswith(row.lower()) for row in rows), message


@pytest.mark.parametrize("document", TEXTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_links_lead_to_files(document):
    text = re.sub(r"^```.*?^```", "", document.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)\s]*\)", text):
        if "://" not in target:
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", TEXTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_documents_use_the_words_of_the_field(document):
    """The changelog alone names what was renamed."""
    text = document.read_text("utf-8")
    if document.name == "CHANGELOG.md":
        text = re.sub(r"^- Renamed.*?(?=^- )", "", text, flags=re.MULTILINE | re.DOTALL)
    assert not re.findall(r"(?i)heard|canary|keeper|\b(?:lesson|exam|anchor)\b|is told", text)


def test_the_site_builds_without_a_warning(tmp_path):
    done = run_outside(REPOSITORY, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site"))
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    reference = (tmp_path / "site" / "api" / "device_app.html").read_text("utf-8")
    for name in ("my_model", "Transcriber", "DecodingOptions", "AsrEdgeError"):
        assert f'id="device_app.{name}"' in reference
