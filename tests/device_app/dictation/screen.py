"""A stand-in for the focused window."""


class Screen:
    """A window in memory."""

    def __init__(self):
        self.text, self.selected = "", ""

    def type(self, text):
        self.text += text

    def erase(self, characters):
        self.text = self.text[: len(self.text) - characters]

    def selection(self):
        return self.selected
