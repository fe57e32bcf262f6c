"""Subtitles: cuts a transcript into cues that can be read, and cues into lines.

The limits and the positions to break follow two published guides:

* Netflix, Timed Text Style Guide, General Requirements and English (USA): at most two lines of 42 characters, one line
  where the text fits, at most 7 s and 20 characters a second; lines are broken after punctuation and before
  conjunctions and prepositions, and not between an article and its noun or a pronoun and its verb.
  https://partnerhelp.netflixstudios.com/hc/en-us/articles/215758617
* BBC, Subtitle Guidelines, sections "Line breaks" and "Timing": a subtitle is one sentence or a part of one, and is
  on the screen for at least a second. https://www.bbc.co.uk/accessibility/forproducts/guides/subtitles/
"""

from __future__ import annotations

import itertools
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from device_app.recognition.results import Word

LINE_COLUMNS = 42
LINES = 2  # of a cue, at most
MAX_DURATION_S = 7.0
MIN_DURATION_S = 1.0
COLUMNS_PER_S = 20.0  # reading speed
PAUSE_S = 1.0  # a cue ends at a pause of this length
DELAY_S = 0.5  # by which a cue may start late, so that the one before can be read

# Costs of cues, and of breaks within a sentence. They have no unit and were not measured: only their order is from the
# guides, and their sizes weigh one fault against another.
COST_OF_CUE = 3.0  # of each cue, so that there are few
COST_PER_S_TOO_SHORT = 8.0  # for each second that a cue lacks to MIN_DURATION_S
COST_PER_S_OF_READING = 3.0  # for each second that a cue lacks to be read at COLUMNS_PER_S
# Of a break, by its position.
AFTER_CLAUSE, BEFORE_CONNECTIVE, BETWEEN_WORDS, AFTER_FUNCTION_WORD, WITHIN_WORD = 0.0, 1.5, 3.0, 5.0, 8.0
COST_PER_PAUSE_S = -2.0  # of a break, for each second of pause: the longer the pause, the better the position
COST_OF_IMBALANCE = 0.25  # for each column by which the two lines of a cue differ

_CLOSING = "\"'\u2019\u201d\u00bb)]}\u300d\u300f\uff09"
_SENTENCE_END = re.compile(rf"[.!?\u2026\u3002\uff01\uff1f\u061f\u06d4\u0964]+[{re.escape(_CLOSING)}]*$")
_CLAUSE_END = re.compile(rf"[,;:\u2014\u2013\u2026\u3001\uff0c\uff1b\uff1a\u060c\u061b]+[{re.escape(_CLOSING)}]*$")


def _word_set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# A name follows these; their full stop never ends a sentence.
_TITLES = _word_set("mr. mrs. ms. dr. prof. st. gen. col. capt. lt. sgt. rev. hon. messrs. mt. vs.")
# These end a sentence unless the next word has a small letter.
_ABBREVIATIONS = _word_set("etc. e.g. i.e. a.m. p.m. inc. ltd. co. jr. sr. u.s. u.k.")
_INITIAL = re.compile(r"[^\W\d_]\.")
_CONNECTIVES = _word_set(
    "and or but nor so yet because although though while when where which who that if unless until since than as "
    "of in on at by for with from to into onto over under about after before between through during against"
)
_FUNCTION_WORDS = _CONNECTIVES | _word_set(
    "a an the my your his her its our their this these those some any no every each very "
    "i you he she it we they is are was were am be been has have had do does did will would can could shall should may "
    "might must not mr. mrs. ms. dr. prof. st."
)


@dataclass(frozen=True)
class Cue:
    """A subtitle.

    Attributes:
        start_s, end_s: when it is on the screen, to the millisecond; cues do not overlap.
        lines: one or two, without line breaks or tabs.
        text: all of it on one line.
    """

    start_s: float
    end_s: float
    lines: Sequence[str]
    text: str


@dataclass(frozen=True)
class _Unit:
    """A word, or a part of one that is too long for a line or of a script without spaces.

    Attributes:
        text: without white space.
        columns: on the screen; East Asian wide characters take two.
        start_s, end_s: the times of the word.
        starts_word: a space goes before it unless it begins a line.
    """

    text: str
    columns: int
    start_s: float
    end_s: float
    starts_word: bool


def cues(words: Iterable[Word]) -> list[Cue]:
    """The subtitles of a recording: all words, once, in their order.

    Sentences, and speech around a pause of a second, never share a cue. Longer sentences are cut at pauses
    and clauses, so that as few cues as possible break the limits.

    Args:
        words: the words of the whole recording. Times that go back are corrected.
    """
    units = _with_spread_times(_units(words))
    stretches = list(_stretches(units))
    units_of_cues: list[Sequence[_Unit]] = []
    for index, stretch in enumerate(stretches):
        following_s = stretches[index + 1][0].start_s if index + 1 < len(stretches) else math.inf
        units_of_cues += _partition(stretch, following_s)
    starts = _starts(units_of_cues)
    return [_cue(units, *times) for units, times in zip(units_of_cues, itertools.pairwise(starts), strict=True)]


def _units(words: Iterable[Word]) -> Iterator[_Unit]:
    """Cuts words into units, without control characters. The units of a word share its time by their columns."""
    previous_start_s = 0.0
    for word in words:
        start_s = max(previous_start_s, word.start_s)
        end_s = max(start_s, word.end_s)
        previous_start_s = start_s
        text = "".join(c for c in word.text if c.isspace() or unicodedata.category(c) != "Cc")
        parts = [(part, index == 0) for text in text.split() for index, part in enumerate(_parts(text))]
        total = sum(_columns(part) for part, _ in parts)
        done = 0
        for part, starts_word in parts:
            columns = _columns(part)
            part_start_s = start_s + (end_s - start_s) * done / total
            done += columns
            yield _Unit(part, columns, part_start_s, start_s + (end_s - start_s) * done / total, starts_word)


def _columns(text: str) -> int:
    return sum(2 if _is_wide(character) else 1 for character in text)


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF"


def _parts(text: str) -> list[str]:
    """Cuts a text without spaces around East Asian characters, and wherever it would be longer than a line."""
    clusters: list[str] = []  # characters with their marks, which are never separated
    for character in text:
        if clusters and _continues(clusters[-1], character):
            clusters[-1] += character
        else:
            clusters.append(character)
    parts: list[str] = []
    for cluster in clusters:
        if parts and not _may_break(parts[-1], cluster) and _columns(parts[-1] + cluster) <= LINE_COLUMNS:
            parts[-1] += cluster
        else:
            # A character with so many marks that they fill a line is no text that anybody reads.
            size = LINE_COLUMNS // 2
            parts += [cluster[start : start + size] for start in range(0, len(cluster), size)]
    return parts


def _continues(cluster: str, character: str) -> bool:
    """Whether a character belongs to the one before: a mark, a joiner, a skin tone, or what a joiner joins."""
    category = unicodedata.category(character)
    return category[0] == "M" or category in ("Cf", "Sk") or cluster[-1] == "\N{ZERO WIDTH JOINER}"


def _may_break(before: str, after: str) -> bool:
    """East Asian text may be broken between characters, but not before closing or after opening punctuation."""
    if not (_is_wide(before[-1]) or _is_wide(after[0])):
        return False
    return unicodedata.category(after[0]) not in ("Pe", "Pf", "Po", "Lm") and unicodedata.category(before[-1]) not in (
        "Ps",
        "Pi",
    )


def _with_spread_times(units: Iterable[_Unit]) -> list[_Unit]:
    """Units that begin at the same time share the time until the next one, as far as they need it to be read."""
    groups = [list(group) for _, group in itertools.groupby(units, key=lambda unit: unit.start_s)]
    spread: list[_Unit] = []
    for group, following in itertools.zip_longest(groups, groups[1:]):
        if len(group) == 1:
            spread += group
            continue
        share_s = sum(unit.columns for unit in group) / COLUMNS_PER_S / len(group)
        if following:
            share_s = min(share_s, (following[0].start_s - group[0].start_s) / len(group))
        for index, unit in enumerate(group):
            start_s = unit.start_s + index * share_s
            spread.append(replace(unit, start_s=start_s, end_s=max(unit.end_s, start_s + share_s)))
    return spread


def _stretches(units: Sequence[_Unit]) -> Iterator[Sequence[_Unit]]:
    """Yields the units of each stretch of speech: cuts after each sentence and at each pause of `PAUSE_S`."""
    first = 0
    for index, (unit, following) in enumerate(itertools.pairwise(units), 1):
        if following.start_s - unit.end_s >= PAUSE_S or _ends_sentence(unit.text, following):
            yield units[first:index]
            first = index
    if units:
        yield units[first:]


def _ends_sentence(text: str, following: _Unit) -> bool:
    """Whether the text of a unit ends a sentence, given the unit after it."""
    if not _SENTENCE_END.search(text) or (not following.starts_word and not _is_wide(text[-1])):
        return False
    plain = text.strip(_CLOSING + "([{\u201c\u2018\u00ab").lower()
    if plain in _TITLES or (_INITIAL.fullmatch(plain) and plain != "i."):
        return False
    is_abbreviation = plain in _ABBREVIATIONS or plain.endswith(("...", "\u2026"))
    return not (is_abbreviation and following.text[0].islower())


def _partition(units: Sequence[_Unit], following_s: float) -> list[Sequence[_Unit]]:
    """Cuts a stretch into cues of the least total cost, by dynamic programming.

    Args:
        units: the units of one stretch.
        following_s: when the next stretch begins.
    """
    starts = [*(unit.start_s for unit in units), following_s]
    costs = [0.0, *[math.inf] * len(units)]  # of the cheapest way to cut the first n units
    previous = [0] * (len(units) + 1)  # where the last cue of this way begins
    for first in range(len(units)):
        cost_of_break = _cost_of_break(units[first - 1], units[first]) if first else 0.0
        fill = _Fill()
        for end in range(first + 1, len(units) + 1):
            fits = fill.add(units[end - 1]) and units[end - 1].end_s - units[first].start_s <= MAX_DURATION_S
            if not fits and end > first + 1:
                break
            cost = costs[first] + cost_of_break + _cost_of_cue(fill.total, starts[end] - starts[first])
            if cost < costs[end]:
                costs[end], previous[end] = cost, first
    units_of_cues = []
    end = len(units)
    while end:
        units_of_cues.append(units[previous[end] : end])
        end = previous[end]
    return units_of_cues[::-1]


class _Fill:
    """Fills the lines of a cue greedily, to find out how many units fit.

    Attributes:
        total: columns on one line.
    """

    def __init__(self) -> None:
        self.total = self._line = 0
        self._lines = 1

    def add(self, unit: _Unit) -> bool:
        """Adds a unit; returns whether it still fits."""
        space = int(unit.starts_word and self.total > 0)
        self.total += space + unit.columns
        if self._line + space + unit.columns <= LINE_COLUMNS:
            self._line += space + unit.columns
        else:
            self._line = unit.columns
            self._lines += 1
        return self._lines <= LINES and self.total <= LINES * LINE_COLUMNS


def _cost_of_cue(columns: int, available_s: float) -> float:
    """The cost of a cue of some columns, which can be on the screen for at most `available_s`."""
    too_short_s = max(0.0, MIN_DURATION_S - available_s)
    unread_s = max(0.0, columns / COLUMNS_PER_S - min(available_s, MAX_DURATION_S))
    return COST_OF_CUE + COST_PER_S_TOO_SHORT * too_short_s + COST_PER_S_OF_READING * unread_s


def _cost_of_break(before: _Unit, after: _Unit) -> float:
    """The cost of ending a cue between two units, which a pause there lowers."""
    pause_s = min(PAUSE_S, max(0.0, after.start_s - before.end_s))
    return _cost_by_words(before, after) + COST_PER_PAUSE_S * pause_s


def _cost_by_words(before: _Unit, after: _Unit) -> float:
    """The cost of a break between two units, of a cue or of a line, by their texts alone."""
    if _CLAUSE_END.search(before.text) or _SENTENCE_END.search(before.text):
        return AFTER_CLAUSE
    if not after.starts_word:
        return BETWEEN_WORDS if _is_wide(before.text[-1]) or _is_wide(after.text[0]) else WITHIN_WORD
    if before.text.lower() in _FUNCTION_WORDS:
        return AFTER_FUNCTION_WORD
    return BEFORE_CONNECTIVE if after.text.lower() in _CONNECTIVES else BETWEEN_WORDS


def _starts(units_of_cues: Sequence[Sequence[_Unit]]) -> list[float]:
    """When each cue begins, in seconds, and infinity after the last.

    A cue begins with its first word, or up to `DELAY_S` later where the cue before needs the time and this one
    does not.
    """
    starts = [*(units[0].start_s for units in units_of_cues), math.inf]
    for index in range(1, len(units_of_cues)):
        wanted_s = starts[index - 1] + _wanted_s(units_of_cues[index - 1])
        latest_s = min(starts[index] + DELAY_S, starts[index + 1] - _wanted_s(units_of_cues[index]))
        start_s = max(starts[index], min(wanted_s, latest_s))
        # No two cues begin in the same millisecond, or one of them would never be shown.
        starts[index] = max(round(start_s, 3), round(starts[index - 1] + 0.001, 3))
    if units_of_cues:
        starts[0] = round(starts[0], 3)
    return starts


def _wanted_s(units: Sequence[_Unit]) -> float:
    """How long a cue should be on the screen to be read."""
    return min(MAX_DURATION_S, max(MIN_DURATION_S, _width(units) / COLUMNS_PER_S))


def _cue(units: Sequence[_Unit], start_s: float, following_s: float) -> Cue:
    end_s = max(units[-1].end_s, start_s + _wanted_s(units))
    end_s = round(min(end_s, start_s + MAX_DURATION_S, following_s), 3)
    return Cue(start_s, end_s, _lines(units), _text(units))


def _lines(units: Sequence[_Unit]) -> list[str]:
    """One line if the text fits, else two of about the same length that break at a good position."""
    if _width(units) <= LINE_COLUMNS:
        return [_text(units)]

    def cost(index: int) -> float:
        first, second = _width(units[:index]), _width(units[index:])
        if max(first, second) > LINE_COLUMNS:
            return math.inf
        return COST_OF_IMBALANCE * abs(first - second) + _cost_by_words(units[index - 1], units[index])

    index = min(range(1, len(units)), key=cost)
    return [_text(units[:index]), _text(units[index:])]


def _width(units: Sequence[_Unit]) -> int:
    return sum(unit.columns + unit.starts_word for unit in units) - units[0].starts_word


def _text(units: Sequence[_Unit]) -> str:
    return "".join(" " + unit.text if unit.starts_word else unit.text for unit in units).removeprefix(" ")
