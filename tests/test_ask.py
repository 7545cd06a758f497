"""`launch.py ask` with scripted engines: what is printed, what is written, how it exits."""

import json
import subprocess
import sys
import wave
from pathlib import Path

import pytest
from PIL import Image

from assistant.cli import main


@pytest.fixture
def ask(tmp_path):
    def run(*arguments):
        return main(["ask", *arguments, "--model", "scripted", "--data-dir", str(tmp_path / "data")])

    return run


def test_the_answer_goes_to_standard_output(ask, capsys):
    assert ask("hello there") == 0
    printed = capsys.readouterr()
    assert printed.out == "You said: hello there.\n"
    assert printed.err == ""


def test_json_names_everything_that_was_promised(ask, capsys, tmp_path):
    file = tmp_path / "red.png"
    Image.new("RGB", (40, 30), "red").save(file)
    assert ask("what is this?", "--image", str(file), "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report) == {"answer", "transcript", "model", "images", "tokens", "timings"}
    assert report["answer"] == "You said: what is this?. I was given 1 picture."
    assert report["model"] == "scripted"
    assert report["images"][0]["source"] == "red.png"
    assert report["images"][0]["size"] == [288, 288]
    assert report["images"][0]["original_size"] == [40, 30]
    assert report["tokens"] > 0
    assert set(report["timings"]) == {"asr_s", "first_token_s", "first_audio_s", "total_s"}
    assert report["timings"]["asr_s"] is None


def test_the_answer_can_be_spoken_into_a_file(ask, tmp_path):
    out = tmp_path / "answer.wav"
    assert ask("hello", "--speak", str(out)) == 0
    with wave.open(str(out)) as sound:
        assert sound.getnframes() > 1000


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--image", "nowhere.png"], "There is no file nowhere.png"),
        (["hi", "--speak", "answer.mp3"], "does not end in .wav"),
        (["hi", "--speak", "/no/such/folder/a.wav"], "There is no folder"),
        ([], "There is nothing to answer"),
    ],
)
def test_bad_input_exits_with_2_and_one_sentence(ask, capsys, arguments, sentence):
    assert ask(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert sentence in printed.err
    assert "Traceback" not in printed.err
    assert len(printed.err.strip().splitlines()) == 1


def test_a_broken_picture_exits_with_2(ask, capsys, tmp_path):
    file = tmp_path / "broken.png"
    file.write_bytes(b"\x89PNG\r\n\x1a\n but no more")
    assert ask("what?", "--image", str(file)) == 2
    assert "broken.png" in capsys.readouterr().err


def test_nothing_of_a_question_is_kept(ask, tmp_path):
    ask("a secret question")
    assert not any(b"secret" in f.read_bytes() for f in tmp_path.rglob("*") if f.is_file())


def test_an_unknown_setting_names_the_valid_ones(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("LUCID_COLOUR", "red")
    assert main(["ask", "hi", "--data-dir", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert "'colour'" in err
    assert "data_dir" in err


def test_the_models_are_listed_with_the_chosen_one_marked(capsys, tmp_path):
    assert main(["models", "--json", "--data-dir", str(tmp_path)]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {r["role"] for r in rows} == {"seeing", "hearing", "speaking"}
    assert sum(r["chosen"] for r in rows) == 3


def test_the_frames_of_a_video_are_named_with_the_answer(ask, capsys):
    clip = Path(__file__).parent / "fixtures" / "bad" / "video_torchcodec_testsrc2_mpeg4.mp4"
    assert ask("What happens?", "--video", str(clip)) == 0
    assert f"[looked at {clip.name} at 0.0" in capsys.readouterr().out
    assert ask("What happens?", "--video", str(clip), "--json") == 0
    frames = json.loads(capsys.readouterr().out)["images"]
    assert frames
    assert all(f["source"] == clip.name and f["time"] >= 0 for f in frames)


def test_an_unknown_option_names_the_valid_ones(ask, capsys):
    with pytest.raises(SystemExit) as ended:
        ask("hi", "--colour", "red")
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert "--colour" in err
    assert "--data-dir" in err


@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_a_reader_that_has_enough_ends_it_without_a_traceback(tmp_path, extra):
    command = [sys.executable, "-m", "assistant.cli", "ask", "hi " * 3000, "--model", "scripted", *extra]
    child = subprocess.Popen(
        [*command, "--data-dir", str(tmp_path), "--max-new-tokens", "3000"],
        cwd=Path(__file__).parent.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdout is not None
    child.stdout.close()
    _, err = child.communicate(timeout=60)
    assert child.returncode == 1
    assert err == b""


def test_a_damaged_tiff_gives_our_sentence_and_nothing_of_the_library(tmp_path):
    """In a process of its own: pytest takes warnings and logs for itself."""
    file = tmp_path / "scan.tif"
    Image.new("RGB", (64, 64), "red").save(file, compression="tiff_lzw", tiffinfo={270: "x" * 400})
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) - 30])
    command = [sys.executable, "-m", "assistant.cli", "ask", "what?", "--model", "scripted", "--image", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "scan.tif" in done.stderr
