"""Engines behind three small interfaces: hear, see-and-say, speak. Knows nothing of conversations or of the page."""
