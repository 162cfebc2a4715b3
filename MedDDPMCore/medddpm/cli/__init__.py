"""The ``medddpm`` command line: thin shells over the library, one module a group of commands."""
