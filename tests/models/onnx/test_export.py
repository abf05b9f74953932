"""Graphs give what torch gives, for every length; and what is in their files."""

from __future__ import annotations
