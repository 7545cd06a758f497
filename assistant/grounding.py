"""Sees when a question is about a picture although none was given, so that nobody invents one."""

from __future__ import annotations

import re

_PICTURE = r"(?:picture|image|photo|photograph|screenshot|drawing|pic|snapshot|video|clip)s?"
_WHERE = r"(?:in|on|of|about|at|inside|within|from|into)"
_WHICH = r"(?:this|that|the|these|those|my|our|the\ attached|the\ above)"
_DO = r"(?:describe|caption|read|transcribe|look\ at|see|analy[sz]e|explain|summari[sz]e)"
_SHOWS = r"(?:shows?|is|are|has|have|looks?|contains?|taken|says?|depicts?)"
_ABOUT_A_PICTURE = re.compile(
    rf"""
      \b{_WHERE}\ {_WHICH}\ (?:\w+\ )?{_PICTURE}\b
    | \b(?:this|that|these|those|attached|uploaded|above|following)\ {_PICTURE}\b
    | \b{_DO}\ (?:me\ )?(?:the|my|this)\ {_PICTURE}\b
    | \b(?:the|my)\ {_PICTURE}\ {_SHOWS}\b
    | \b(?:do|does|is|are|can|what\ does|what\ do)\ (?:the|my)\ {_PICTURE}\b
    | \bwhat\ (?:do|can|did)\ you\ see\ *(?:here|now)?\ *\?*$
    | \b(?:i|we)\ (?:just\ )?(?:attached|uploaded|sent|dropped)\ (?:you\ )?(?:an?|the|this|my)\ {_PICTURE}\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
_ABOUT_A_PICTURE_CHINESE = re.compile(
    r"(?:这|那|该|此)(?:张|幅|个|段|些)?(?:图|图片|图像|照片|相片|截图|画面|视频)"
    r"|(?:图|图片|图像|照片|相片|截图|画面|视频)(?:里|中|上|内)"
    r"|(?:描述|看看|看一下|分析|识别|读)(?:一下)?(?:图|图片|图像|照片|截图|视频)"
)
_CHINESE = re.compile(r"[\u4e00-\u9fff]")
# "Imagine this picture: …", "draw", "write a caption for a photo of": the owner supplies the picture in words.
_IN_WORDS = re.compile(r"\b(?:imagine|pretend|suppose|draw|paint|generate|create|hypothetical)\b", re.IGNORECASE)

NO_PICTURE = "There is no picture in this conversation yet, so I cannot look at it. Drop one in and ask again."
NO_PICTURE_CHINESE = "这个对话里还没有图片，所以我看不到。请把图片拖进来再问一次。"


def asks_about_a_picture(question: str) -> bool:
    """Whether the question only makes sense with a picture (or a video) to look at."""
    if _IN_WORDS.search(question):
        return False
    text = " ".join(question.split())
    return bool(_ABOUT_A_PICTURE.search(text) or _ABOUT_A_PICTURE_CHINESE.search(text))


def no_picture_answer(question: str) -> str:
    """What Lucid says then, in the question's language."""
    return NO_PICTURE_CHINESE if _CHINESE.search(question) else NO_PICTURE
