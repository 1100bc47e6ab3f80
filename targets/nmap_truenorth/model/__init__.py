"""The chip's own files: cores of a model, their file formats, and their emulator."""
