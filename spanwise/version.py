"""Spanwise's version; the package's metadata says the same, but takes 2 MB of imports to ask."""

VERSION = "0.1.0"
