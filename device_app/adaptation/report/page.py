"""The HTML of the report: one file for a phone, for paper and in grey, without scripts and requests."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from pathlib import Path
from string import Template

from device_app.adaptation.report.chart import Line, line_chart
from device_app.adaptation.report.measure import Estimate, History
from device_app.data.names import GUARD_SET
from device_app.models.ledger import Ledger
from device_app.paths import ASSETS
from editing.errors import BadInputError
from editing.printable import printable

TEMPLATE = ASSETS / "report.html"
GENERAL = "everybody else"


def check_html(path: Path) -> None:
    """Checks the extension of a report's file, so that a report does not replace a file of another kind.

    Raises:
        BadInputError: the file name does not end in .html.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise BadInputError(f"{path}: is not the name of an .html file; nothing was changed")


def render(history: History, ledger: Ledger, now: datetime | None = None) -> str:
    """Returns the report as one HTML document."""
    made = (now or datetime.now(UTC)).strftime("%Y-%m-%d %H:%M UTC")
    return Template(TEMPLATE.read_text("utf-8")).substitute(
        made=made,
        model=text_of(ledger.base.name),
        summary="\n".join(f"<p>{sentence}</p>" for sentence in summary(history)),
        chart=chart(history),
        table=error_rates(history),
        edits=edits(ledger),
        examples=examples(history),
    )


def summary(history: History) -> list[str]:
    """The result in sentences."""
    sentences = []
    first, last = history.estimates[0], history.estimates[-1]
    for domain in history.domains:
        before, after = first[domain], last[domain]
        subject = "Speech of other people (general speech)" if domain == GUARD_SET else f"<b>{text_of(domain)}</b>"
        if len(history.versions) == 1:
            sentences.append(f"{subject}: {per_hundred(after)}. The model has learnt nothing yet.")
        else:
            sentences.append(
                f"{subject}: {per_hundred(after)}; {100 * before.wer:.0f} before the first edit"
                f"{' (no sure difference)' if overlaps(before, after) else ''}."
            )
    return sentences


def overlaps(before: Estimate, after: Estimate) -> bool:
    """Whether the two intervals have a value in common."""
    return before.low <= after.high and after.low <= before.high


def per_hundred(estimate: Estimate) -> str:
    """For example: 12 of 100 words wrong."""
    return f"{100 * estimate.wer:.0f} of 100 words wrong"


def chart(history: History) -> str:
    """WER over versions, one line a domain."""
    lines = [
        Line(label(domain), [one[domain] for one in history.estimates], is_reference=domain == GUARD_SET)
        for domain in history.domains
    ]
    return line_chart(lines, [version_name(one.id, one.why) for one in history.versions])


def label(domain: str) -> str:
    """The name of a domain for the reader of the report, without HTML."""
    return GENERAL if domain == GUARD_SET else printable(domain)


def version_name(number: int, why: str) -> str:
    """The name of a version: the change that made it, without HTML.

    Args:
        number: of the version; 0 is the base model.
        why: the change that made the version.
    """
    return "at the start" if number == 0 else printable(why)


def error_rates(history: History) -> str:
    """WER by version and domain, with intervals."""
    head = "".join(f"<th scope=col>{escape(label(domain))}</th>" for domain in history.domains)
    rows = []
    for version, estimates in zip(history.versions, history.estimates, strict=True):
        cells = "".join(cell(estimates[domain]) for domain in history.domains)
        rows.append(f"<tr><th scope=row>{escape(version_name(version.id, version.why))}</th>{cells}</tr>")
    sizes = "".join(f"<td>{history.estimates[0][domain].utterances} recordings</td>" for domain in history.domains)
    return (
        f"<table><thead><tr><td></td>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
        f"<tfoot><tr><th scope=row>measured on</th>{sizes}</tr></tfoot></table>"
    )


def cell(estimate: Estimate) -> str:
    """A table cell with a WER in per cent and its confidence interval, as HTML."""
    interval = f"{100 * estimate.low:.1f} to {100 * estimate.high:.1f}"
    return f"<td>{100 * estimate.wer:.1f} % <small>{interval}</small></td>"


def edits(ledger: Ledger) -> str:
    """The edits of the active version."""
    items = []
    for edit in ledger.edits:
        if not ledger.is_applied(edit.id):
            continue
        size = f"{edit.utterances} recordings ({edit.seconds / 60:.1f} minutes)" if edit.utterances else edit.kind
        items.append(
            f"<li value={edit.id}><b>{text_of(edit.domain)}</b>: learnt from {escape(size)} on "
            f"{escape(edit.created[:10])}. <code>asr-edge revert {edit.id}</code> removes it.</li>"
        )
    return f"<ol>{''.join(items)}</ol>" if items else "<p>The model is as it was installed.</p>"


def examples(history: History) -> str:
    """Sentences that the active version recognises better than the base model."""
    parts = []
    for domain, found in history.examples.items():
        if found:
            rows = "".join(
                f"<tr><td>{text_of(one.reference)}</td><td>{text_of(one.before)}</td><td>{text_of(one.now)}</td></tr>"
                for one in found
            )
            head = "<tr><th scope=col>said</th><th scope=col>at the start</th><th scope=col>now</th></tr>"
            parts.append(
                f"<h3>{text_of(domain)}</h3><table class=texts><thead>{head}</thead><tbody>{rows}</tbody></table>"
            )
    return "".join(parts) or "<p>No sentence of the test recordings is recognised better than at the start.</p>"


def text_of(text: str) -> str:
    """Text from data as HTML: no control characters, no markup."""
    return escape(printable(text))
