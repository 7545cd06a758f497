"""Makes `.venv` and installs the requirements into it. Standard library only; used by `launch.py` alone."""
