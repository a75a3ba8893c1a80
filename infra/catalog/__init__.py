"""Builds the packaged catalogue snapshot from pinned packages, at release time."""
