"""Short English sentences with a small vocabulary, written for this project; no corpus is quoted.

A sentence is a pattern whose slots, the words in braces, are filled from lists. The hash of a sentence
decides whether it is for training or for tests.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

PATTERNS: Sequence[str] = (
    "please {turn} the {device} in the {room}",
    "{turn} the {device} before {time}",
    "is the {device} in the {room} still {state}",
    "the {device} in the {room} is {state} again",
    "put the {thing} {place} the {furniture}",
    "i left my {thing} {place} the {furniture}",
    "where did you put the {colour} {thing}",
    "there is a {colour} {thing} {place} the {furniture}",
    "{person} wants {number} {colour} {plural} by {day}",
    "we need {number} more {plural} for the {room}",
    "call {person} {when} and ask about the {thing}",
    "tell {person} that the {thing} is {place} the {furniture}",
    "{person} will be {away} until {day}",
    "remind me {when} to {do} the {thing}",
    "set a timer for {number} minutes",
    "wake me at {hour} on {day}",
    "the train to {town} leaves at {hour}",
    "how far is it from {town} to {town}",
    "{person} drove to {town} on {day} morning",
    "it will be {weather} in {town} on {day}",
    "was it {weather} in {town} last {day}",
    "add {food} and {food} to the list",
    "cook the {food} for {number} minutes",
    "we have no {food} left in the {room}",
    "{person} had {food} with {food} for {meal}",
    "what is there for {meal} on {day}",
    "first {do} the {thing} and then {do} the {thing}",
    "never {do} the {thing} near the {device}",
    "can {person} {do} the {colour} {thing}",
    "my number is {digit} {digit} {digit} {digit} {digit}",
    "room {digit} {digit} on the {ordinal} floor",
    "take the {ordinal} road on the {side} after the {building}",
    "the {building} in {town} closes at {hour}",
    "meet {person} outside the {building} {when}",
    "the {animal} is asleep {place} the {furniture}",
    "{person} saw {number} {animals} near the {building}",
    "no the other {thing} the {colour} one",
    "yes {turn} it now please",
)

SLOTS: Mapping[str, Sequence[str]] = {
    "turn": ("switch on", "switch off", "turn up", "turn down", "check", "stop", "start"),
    "device": ("heater", "lamp", "radio", "oven", "pump", "fan", "kettle", "printer", "washing machine", "alarm"),
    "room": ("kitchen", "hall", "garage", "office", "cellar", "bathroom", "workshop", "garden", "bedroom"),
    "time": ("noon", "midnight", "breakfast", "supper", "you leave", "they come home"),
    "state": ("running", "broken", "warm", "cold", "open", "locked", "too loud", "empty"),
    "thing": (
        *("hammer", "ladder", "bucket", "letter", "key", "phone", "jacket", "bottle", "blanket", "camera"),
        *("ticket", "saw", "rope", "basket", "bicycle", "mirror"),
    ),
    "plural": ("chairs", "screws", "boxes", "plates", "towels", "bricks", "nails", "cups", "batteries"),
    "place": ("under", "behind", "beside", "on top of", "next to", "inside"),
    "furniture": ("table", "shelf", "sofa", "cupboard", "door", "bench", "window", "drawer", "stairs"),
    "colour": ("red", "green", "blue", "yellow", "white", "black", "brown", "grey", "orange"),
    "person": ("anna", "peter", "maria", "thomas", "grandma", "the doctor", "my brother", "our neighbour", "julia"),
    "when": ("today", "tomorrow", "tonight", "after lunch", "in the morning", "in an hour", "next week"),
    "away": ("away", "at work", "in hospital", "on the road", "with us", "at school"),
    "do": ("clean", "paint", "mend", "move", "carry", "lift", "sell", "measure", "wash", "find"),
    "number": ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve", "fifteen", "twenty"),
    "digit": ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "hour": ("six", "half past seven", "a quarter to eight", "nine", "ten thirty", "eleven", "four fifteen"),
    "ordinal": ("first", "second", "third", "fourth", "fifth"),
    "day": ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"),
    "town": ("bristol", "dover", "boston", "denver", "glasgow", "newport", "oxford", "kingston"),
    "weather": ("sunny", "windy", "wet", "cloudy", "very hot", "freezing", "foggy"),
    "food": ("bread", "cheese", "carrots", "rice", "beans", "apples", "fish", "butter", "onions", "soup", "eggs"),
    "meal": ("breakfast", "lunch", "dinner"),
    "side": ("left", "right"),
    "building": ("station", "library", "church", "bakery", "school", "bridge", "market", "museum"),
    "animal": ("cat", "dog", "horse", "parrot"),
    "animals": ("sheep", "cows", "ducks", "foxes", "birds"),
}

HELD_OUT = 0.1  # the fraction of sentences that are for tests


def sentences(split: str, seed: int) -> Iterator[str]:
    """Yields distinct sentences of a split, "train" or "test", without end."""
    random = np.random.default_rng(seed)
    seen = set()
    while True:
        pattern = _one(PATTERNS, random)
        text = re.sub(r"\{(\w+)\}", lambda slot: _one(SLOTS[slot[1]], random), pattern)
        if text not in seen and split_of(text) == split:
            seen.add(text)
            yield text


def split_of(sentence: str) -> str:
    """The split of a sentence; deterministic."""
    share = int.from_bytes(hashlib.sha256(sentence.encode()).digest()[:4]) / 2**32
    return "test" if share < HELD_OUT else "train"


def _one(words: Sequence[str], random: np.random.Generator) -> str:
    return words[int(random.integers(len(words)))]
