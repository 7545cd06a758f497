"""The Gradio page, browser security and the texts in two languages. Knows nothing of how an engine works."""
