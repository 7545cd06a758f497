"""The command line behind launch.py: ask, talk, models, doctor."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from assistant.config import Settings, add_settings_arguments, load_settings, start_logging
from assistant.models_command import ACTIONS
from models.errors import AssistantError

# Options of a command that are no settings.
OWN = ("question", "image", "audio", "video", "json", "action", "name")


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command that runs in the terminal."""
    parser = argparse.ArgumentParser(prog="launch.py", description="Lucid, an assistant on your own machine.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    ask = commands.add_parser("ask", help="answer one question in the terminal")
    ask.add_argument(
        "question", nargs="?", default="", help="may be left out with --audio: the recording is the question"
    )
    ask.add_argument("--image", action="append", default=[], metavar="P", help="a picture (may be repeated)")
    ask.add_argument("--audio", action="append", default=[], metavar="P", help="a recording")
    ask.add_argument("--video", action="append", default=[], metavar="P", help="a video")
    ask.add_argument("--speak", metavar="OUT.wav", help="speak the answer into this file")
    ask.add_argument("--system", help="the system prompt")
    ask.add_argument("--json", action="store_true", help="print one JSON object instead of streaming text")
    ask.add_argument("--max-new-tokens", type=int, help="longest answer, in tokens")
    ask.add_argument("--voice", help="the voice to speak with")

    talk = commands.add_parser("talk", help="a hands-free conversation with this machine's microphone and speaker")
    talk.add_argument("--voice", help="the voice to speak with")

    models = commands.add_parser("models", help="list, download, update and remove models")
    models.add_argument("action", nargs="?", default="list", choices=ACTIONS, help="default: list")
    models.add_argument("name", nargs="?", default="", help="of the model: hf:OWNER/NAME, or one that is listed")
    doctor = commands.add_parser("doctor", help="what is here, and what is missing")
    for command in (models, doctor):
        command.add_argument("--json", action="store_true", help="print JSON")
    for command in (ask, talk, models, doctor):
        add_settings_arguments(command)
        command.set_defaults(refuse=command.error)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Returns 0, 2 for bad input, 1 for a failure; the reason goes to standard error."""
    options = _parsed(arguments)
    command = options.pop("command")
    own = {name: options.pop(name) for name in OWN if name in options}
    speak = options.pop("speak", None)
    try:
        settings = load_settings(options)
        start_logging(settings)
        return _run(command, settings, {**own, "speak": speak})
    except AssistantError as error:
        print(f"lucid: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("lucid: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # `ask … | head`: the reader has enough. Python flushes standard output as it ends, and would complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parsed(arguments: Sequence[str] | None) -> dict[str, Any]:
    """The command and its options. One that does not exist ends the program, with those of its command listed."""
    options, unknown = build_parser().parse_known_args(arguments)
    if unknown:
        options.refuse(f"unrecognized arguments: {' '.join(unknown)}")
    del options.refuse
    return vars(options)


def _run(command: str, settings: Settings, options: dict) -> int:
    if command == "ask":
        from assistant.ask import AskOptions, ask

        return ask(
            AskOptions(
                options["question"],
                tuple(options["image"]),
                tuple(options["audio"]),
                tuple(options["video"]),
                options["speak"],
                options["json"],
            ),
            settings,
        )
    if command == "talk":
        from assistant.session import open_dialogue
        from assistant.talk import run_talk

        with open_dialogue(settings) as dialogue:
            return run_talk(dialogue, settings)
    if command == "models":
        from assistant.models_command import run

        return run(settings, options["action"], options["name"], as_json=options["json"])
    from assistant.doctor import main as doctor

    return doctor(settings, as_json=options["json"])


if __name__ == "__main__":
    sys.exit(main())
