"""An answer as it streams in → sentences that can be said aloud, each released as soon as its end is certain.

The text is taken one character at a time and every decision rests on the text alone, so that it makes no difference
in how many pieces it arrives. What a listener would not want to hear (code, tables, urls, formulas, signs) is taken out
by `assistant.markdown_speech`; here is only the question of where a sentence ends.

A line break always ends a sentence: models write one paragraph to a line, and a heading has no full stop.
"""

from __future__ import annotations

import re

from assistant.markdown_speech import (
    has_open_construct,
    is_delimiter_row,
    is_dropped_line,
    is_emoji,
    is_wide,
    opened_block,
    opens_fence,
    spoken_form,
)

# How much may be waiting, in narrow characters, before it is cut at a clause mark: little for the first piece, so that
# speech starts soon (80 characters are about 5 seconds of speech), more for the others, which sound better whole.
FIRST_LIMIT = 80
LIMIT = 300
# Without a clause mark it is cut between words at this multiple of the limit, so that what waits is bounded.
HARD_FACTOR = 3
# Signs, urls and formulas count too in this one: nothing may hold a line up for longer.
RAW_LIMIT = 1500
# A piece cut off at a clause mark should be worth the break in the melody.
SHORTEST_CLAUSE = 24
# Chinese is spoken at 4 to 5 characters a second, English at about 15.
WIDE_WEIGHT = 3

WIDE_ENDS = "。！？；"
ENDS = ".!?…" + WIDE_ENDS
QUOTES = "\"'”’»」』"
CLOSERS = QUOTES + ")]}）】》*_~"
CLAUSE_MARKS = ",;:—–"
WIDE_CLAUSE_MARKS = "，、："


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# No sentence ends after these, whatever follows.
_NEVER = _words(
    "mr mrs ms mx dr prof rev hon st mt messrs gen sen rep gov capt col lt sgt vs viz cf e.g eg i.e ie approx"
)
_NEVER_ONLY_CAPITALISED = _words("col gen hon lt ms mt rep rev sen st")  # "It took 5 ms." may end
# None ends after these when a number follows ("No. 5", "Fig. 2").
_BEFORE_NUMBER = _words("no nos fig figs vol ch sec eq p pp art ver")
# These end a sentence only when neither a small letter nor a digit follows.
_MAYBE = _words(
    "etc inc ltd co corp jr sr al a.m p.m b.c a.d dept est ca jan feb mar apr jun jul aug sep sept oct nov dec"
)
# After initials ("U.S.", "J.") a capital proves nothing; a word that names start with proves no end, these do.
_STARTERS = _words(
    """a after also although an and another as at because both but each every finally first for from he her here his
    how however i if in instead is it its let many more most my next no not now of on once one or our she so some such
    that the their then there therefore these they this those though thus to today unlike until we what when where
    which while who why with yes yet you your"""
)
_INITIALS = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]|ph\.d", re.IGNORECASE)
_LAST_WORD = re.compile(r"[^\s(\[\"'“‘*_]*$")
_NEXT_WORD = re.compile(r"[\s*_\"'“‘(\[]+([^\W\d_]+)(\W?)")


class SentenceSplitter:
    """Fed with pieces of Markdown, gives speakable sentences.

    `feed` returns those whose end has become certain, `finish` what is left; after it a new text may begin.
    """

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._line = ""  # what of the current line is not released yet
        self._fresh = True  # nothing of the current line is released: markers at its start still count as such
        self._candidate = 0  # where in the line a sentence may end, while that is not decided; 0: nowhere
        self._clause = 0  # just after the last clause mark in the line
        self._weigh_at = 0  # how long the line must be before it is weighed again
        self._fence = ""  # the sign that closes the code block that we are in
        self._closer = ""  # the sign that closes the formula, comment or script that we are in
        self._held: str | None = None  # a line with | in it, which is the head of a table if a delimiter row follows
        self._in_table = False
        self._spoke = False
        self._out: list[str] = []

    def feed(self, delta: str) -> list[str]:
        """Takes the next piece of the text."""
        for character in delta:
            self._push(character)
        return self._take()

    def finish(self) -> list[str]:
        """Ends the text."""
        self._end_line()
        self._release_held()
        rest = self._take()
        self._reset()
        return rest

    def _take(self) -> list[str]:
        out, self._out = self._out, []
        return out

    def _push(self, character: str) -> None:
        if character == "\n":
            self._end_line()
        elif self._fence or (self._fresh and is_dropped_line(self._line)):
            if len(self._line) < 200:  # enough to know the line by its beginning
                self._line += character
        elif self._closer:
            self._line = (self._line + character)[-16:]
            if self._line.lower().endswith(self._closer):
                self._closer, self._line, self._fresh = "", "", False
        else:
            self._line += character
            if self._held is not None and character not in " \t|:-":
                self._release_held()
            self._split(character)

    def _end_line(self) -> None:
        line, fresh = self._line, self._fresh
        self._line, self._fresh, self._candidate, self._clause, self._weigh_at = "", True, 0, 0, 0
        if self._fence:
            bare = line.strip().lstrip("> ")
            if bare.startswith(self._fence) and not bare.strip(self._fence[0]):
                self._fence = ""
        elif self._closer:
            # A formula cannot hold an empty line: one that was never closed takes no more than its paragraph with it.
            if not line.strip() and self._closer in ("$$", r"\]"):
                self._closer = ""
            self._line = line  # the closing sign may be split from its beginning only by what is not a line break
        elif fresh and (fence := opens_fence(line)):
            self._release_held()
            self._fence = fence
        else:
            self._end_text_line(line, fresh)

    def _end_text_line(self, line: str, fresh: bool) -> None:
        if fresh and is_delimiter_row(line) and (self._held is not None or self._in_table):
            self._held, self._in_table = None, True
            return
        self._release_held()
        self._in_table = self._in_table and "|" in line
        if fresh and (self._in_table or is_dropped_line(line)):
            return
        before, self._closer = opened_block(line, fresh)
        if fresh and "|" in before and not self._closer:
            self._held = before
        else:
            self._release(before, fresh)

    def _release_held(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            self._release(held, True)

    def _release(self, raw: str, fresh: bool) -> None:
        sentence = spoken_form(raw, line_start=fresh)
        if sentence:
            self._out.append(sentence)
            self._spoke = True

    def _cut(self, end: int) -> None:
        """Releases the line up to `end`, unless there is nothing to say in it yet."""
        head = self._line[:end]
        if spoken_form(head, line_start=self._fresh):
            self._release(head, self._fresh)
            self._line, self._fresh = self._line[end:], False
            self._clause, self._weigh_at = max(0, self._clause - end), 0

    def _split(self, character: str) -> None:
        """Looks whether the line's newest character makes a sentence end certain."""
        if not self._candidate:
            self._candidate = _end_before(self._line)
        if self._candidate:
            verdict = _is_end(self._line[: self._candidate], self._line[self._candidate :], self._fresh)
            if verdict is None and len(self._line) < RAW_LIMIT:
                return
            end, self._candidate = self._candidate, 0
            if verdict and not has_open_construct(self._line[:end]):
                self._cut(end)
                return
        self._shorten(character)

    def _shorten(self, character: str) -> None:
        """Cuts what has grown too long at a clause mark, or at last between words."""
        before = self._line[-2:-1]
        after_mark = character.isspace() and before != "" and before in CLAUSE_MARKS
        if (after_mark or character in WIDE_CLAUSE_MARKS) and not has_open_construct(self._line):
            self._clause = len(self._line)
        elif len(self._line) < self._weigh_at or not (character.isspace() or is_wide(character)):
            return
        limit = LIMIT if self._spoke else FIRST_LIMIT
        hard = limit * HARD_FACTOR
        waiting = _weight(spoken_form(self._line, line_start=self._fresh))
        overlong = len(self._line) >= RAW_LIMIT
        if waiting >= limit or overlong:
            if _weight(spoken_form(self._line[: self._clause], line_start=self._fresh)) >= SHORTEST_CLAUSE:
                self._cut(self._clause)
                return
            if overlong or (waiting >= hard and not has_open_construct(self._line)):
                self._cut(len(self._line))
                return
        # Weighing again is of no use before so much has come that it can make a difference.
        missing = (hard if waiting >= limit else limit) - waiting
        self._weigh_at = len(self._line) + max(2, missing // WIDE_WEIGHT)


def speakable(markdown: str) -> list[str]:
    """The sentences of a whole text. Joined, they hold everything in it that can be said, once and in order."""
    splitter = SentenceSplitter()
    return splitter.feed(markdown) + splitter.finish()


def _weight(text: str) -> int:
    return sum(WIDE_WEIGHT if is_wide(c) else 1 for c in text)


def _end_before(line: str) -> int:
    """The index of `line`'s last character if it follows a sentence's end mark and its closing signs, or else 0."""
    last = len(line) - 1
    newest = line[last]
    if newest in ENDS or newest in CLOSERS or is_emoji(newest):
        return 0
    at = last - 1
    while at >= 0 and (line[at] in CLOSERS or is_emoji(line[at])):
        at -= 1
    if at < 0 or line[at] not in ENDS:
        return 0
    if line[at] in WIDE_ENDS or newest.isspace():
        return last
    # "OK.我们": between scripts there is no space; but "3.5" and "example.com" go on.
    return last if is_wide(newest) and not line[at - 1 : at].isdigit() else 0


def _is_end(head: str, following: str, fresh: bool) -> bool | None:
    """Whether a sentence ends between `head` and `following`; None while `following` is too short to tell."""
    bare = head.rstrip()
    while bare and (bare[-1] in CLOSERS or is_emoji(bare[-1])):
        bare = bare[:-1]
    closing = head[len(bare) :]
    words = bare.rstrip(ENDS)
    mark = bare[len(words) :]
    if any(c in WIDE_ENDS for c in mark) or is_wide(following[0]):
        return True
    if mark == ".":
        if fresh and re.fullmatch(r"[\s>#*_+-]*\d{1,3}", words):
            return False  # the marker of a list
        word = _LAST_WORD.search(words)
        verdict = _after_word(word.group() if word else "", following)
        if verdict != "ordinary":
            return {"yes": True, "no": False}.get(verdict)
    if mark in (".", "!", "?") and not any(c in QUOTES for c in closing):
        return True
    after = following.lstrip(" \t*_\"'“‘([")
    return not after[0].islower() if after else None  # 'Well... maybe.' and '"Really?" she asked.' go on


def _after_word(word: str, following: str) -> str:
    """What the word before a full stop makes of it: "yes", "no", "unknown" (yet), or "ordinary"."""
    lower = word.lower()
    after = following.lstrip(" \t*_\"'“‘([")
    if lower in _NEVER and (lower not in _NEVER_ONLY_CAPITALISED or word[0].isupper()):
        return "no"
    if lower in _BEFORE_NUMBER:
        return "unknown" if not after else "no" if after[0].isdigit() else "yes"
    if lower in _MAYBE:
        return "unknown" if not after else "no" if after[0].islower() or after[0].isdigit() else "yes"
    if _INITIALS.fullmatch(word) and not word.isdigit():
        if after and not after[0].isalpha():
            return "yes"
        found = _NEXT_WORD.match(following)
        if not found or not found.group(2):
            return "unknown"
        return "yes" if found.group(1).lower() in _STARTERS and found.group(1)[0].isupper() else "no"
    return "ordinary"
