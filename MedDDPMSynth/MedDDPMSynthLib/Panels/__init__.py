"""The sections of the module's panel, one class a file."""
