"""The HTML of the report: one file for a phone, for paper and in grey, without scripts and requests."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from pathlib import Path
from string import Template

from device_app.adaptation.gate import Change
from device_app.adaptation.report.chart import Line, line_chart
from device_app.adaptation.report.measure import Estimate, History
from device_app.data.names import GUARD_SET
from device_app.models.ledger import Ledger
from device_app.paths import ASSETS
from editing.errors import BadInputError, counted
from editing.printable import printable

TEMPLATE = ASSETS / "report.html"
GENERAL = "general speech (other people)"


def check_html(path: Path) -> None:
    """Checks the extension of a report's file, so that a report does not replace a file of another kind.

    Raises:
        BadInputError: the file name does not end in .html or .htm.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise BadInputError(f"{path}: the report's name must end in .html or .htm; nothing was changed")


def render(history: History, ledger: Ledger, now: datetime | None = None) -> str:
    """Returns the report as one HTML document.

    Args:
        history: what was measured.
        ledger: the ledger of the model, for its name and edits.
        now: the time that the report shows; None is the present.
    """
    made = (now or datetime.now(UTC)).strftime("%Y-%m-%d %H:%M UTC")
    return Template(TEMPLATE.read_text("utf-8")).substitute(
        made=made,
        model=_html_text(ledger.base.name),
        summary="\n".join(f"<p>{sentence}</p>" for sentence in _summary(history)),
        chart=_chart(history),
        table=_error_rates(history),
        edits=_edits(ledger),
        examples=_examples(history),
    )


def _summary(history: History) -> list[str]:
    """The result as HTML, one sentence per domain."""
    has_edits = bool(history.versions[-1].applied)
    sentences = [] if has_edits else ["No edit is in use."]
    if not history.domains:
        sentences.append(
            "There are no recordings to measure the model on. Label recordings and adapt to them, or add speech of "
            "other people with <code>asr-edge guard add</code>."
        )
    for domain in history.domains:
        change = history.changes[domain]
        subject = GENERAL.capitalize() if domain == GUARD_SET else f"<b>{_html_text(domain)}</b>"
        result = f"{subject}: {100 * change.after:.0f} of 100 words wrong"
        if has_edits:
            result += f"; {100 * change.before:.0f} before the first edit"
            result += "" if _is_sure(domain, change) else " (no sure difference)"
        sentences.append(f"{result}.")
    return sentences


def _is_sure(domain: str, change: Change) -> bool:
    """Whether a difference is sure, as the gate judges it: more strictly for the guard set than for a domain."""
    return (change.low > 0 or change.high < 0) if domain == GUARD_SET else change.is_sure


def _chart(history: History) -> str:
    """WER over versions as SVG, one line per domain; empty without test recordings."""
    if not history.domains:
        return ""
    lines = [
        Line(_label(domain), [one[domain] for one in history.estimates], is_reference=domain == GUARD_SET)
        for domain in history.domains
    ]
    return line_chart(lines, [_version_name(one.id, one.why) for one in history.versions])


def _label(domain: str) -> str:
    """The name of a domain for the reader of the report, without HTML."""
    return GENERAL if domain == GUARD_SET else printable(domain)


def _version_name(number: int, change: str) -> str:
    """The name of a version: the change that made it, without HTML.

    Args:
        number: the number of the version; 0 is the base model.
        change: the text of the change that made it (`Version.why`).
    """
    return "at the start" if number == 0 else printable(change)


def _error_rates(history: History) -> str:
    """WER by version and domain with intervals, as an HTML table, in per cent; empty without test recordings."""
    if not history.domains:
        return ""
    head = "".join(f"<th scope=col>{escape(_label(domain))}</th>" for domain in history.domains)
    rows = []
    for version, estimates in zip(history.versions, history.estimates, strict=True):
        cells = "".join(_cell(estimates[domain]) for domain in history.domains)
        rows.append(f"<tr><th scope=row>{escape(_version_name(version.id, version.why))}</th>{cells}</tr>")
    counts = [counted(history.estimates[0][domain].utterances, "recording") for domain in history.domains]
    sizes = "".join(f"<td>{count}</td>" for count in counts)
    return (
        f"<table><thead><tr><td></td>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
        f"<tfoot><tr><th scope=row>measured on</th>{sizes}</tr></tfoot></table>"
    )


def _cell(estimate: Estimate) -> str:
    """A table cell with a WER in per cent and its confidence interval, as HTML."""
    interval = f"{100 * estimate.low:.1f} to {100 * estimate.high:.1f}"
    return f"<td>{100 * estimate.wer:.1f} % <small>{interval}</small></td>"


def _edits(ledger: Ledger) -> str:
    """The edits of the active version, as an HTML list."""
    items = []
    for edit in ledger.edits:
        if not ledger.is_applied(edit.id):
            continue
        if edit.utterances:
            how = f"learnt from {counted(edit.utterances, 'recording')} ({edit.seconds / 60:.1f} minutes)"
        else:
            how = f"added by {edit.kind}"
        items.append(
            f"<li value={edit.id}><b>{_html_text(edit.domain)}</b>: {_html_text(how)} on "
            f"{escape(edit.created[:10])}. <code>asr-edge revert {edit.id}</code> removes it.</li>"
        )
    return f"<ol>{''.join(items)}</ol>" if items else "<p>The model is as it was installed.</p>"


def _examples(history: History) -> str:
    """Sentences that the active version recognises better than the base model, as HTML tables."""
    parts = []
    for domain, found in history.examples.items():
        if found:
            rows = "".join(
                f"<tr><td>{_html_text(one.reference)}</td><td>{_html_text(one.before)}</td><td>{_html_text(one.now)}</td></tr>"
                for one in found
            )
            head = "<tr><th scope=col>said</th><th scope=col>at the start</th><th scope=col>now</th></tr>"
            parts.append(
                f"<h3>{_html_text(domain)}</h3><table class=texts><thead>{head}</thead><tbody>{rows}</tbody></table>"
            )
    return "".join(parts) or "<p>No sentence of the test recordings is recognised better than at the start.</p>"


def _html_text(text: str) -> str:
    """Text from data as HTML: no control characters, no markup."""
    return escape(printable(text))
