"""The folder for uploads and other passing files: private, and emptied."""

from __future__ import annotations

import atexit
import os
import shutil
from pathlib import Path

from assistant.presence import Presence, exclusive

_LOCKS = "alive"


def private_temporary_folder(data_dir: Path) -> Path:
    """A fresh folder of this process below `data_dir`, for its owner alone; Gradio is told to use it.

    Call it before Gradio is imported. What earlier processes left behind (a crash) is removed; this process's own
    folder goes when it exits. Other living processes keep theirs.
    """
    root = data_dir / "temporary"
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.chmod(root, 0o700)
    with exclusive(root / "opening.lock"):
        presence = Presence(root / _LOCKS)
        living = presence.living()
        for left in list(root.iterdir()):
            if left.is_dir() and left.name != _LOCKS and left.name not in living:
                shutil.rmtree(left, ignore_errors=True)
        folder = (root / presence.token).resolve()
        folder.mkdir(mode=0o700)

    def leave() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        presence.close()

    atexit.register(leave)
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    os.environ["GRADIO_EXAMPLES_CACHE"] = str(folder / "examples")  # or Gradio takes ./.gradio for readable, too
    return folder
