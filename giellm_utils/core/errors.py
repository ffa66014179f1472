"""The one base of all faults that a user can mend."""

from __future__ import annotations


class GiellmError(Exception):
    """One clear sentence: what is wrong, where, what to do. The command line shows it without a traceback."""
