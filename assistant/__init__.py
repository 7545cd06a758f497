"""The dialogue: a turn goes in, events come out. Knows nothing of Gradio or HTTP."""
