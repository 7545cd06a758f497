"""One file per table of figures; `launch.py bench` prints them together."""
