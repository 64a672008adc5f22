"""Revisions on disk: where the migration directory is, what lies in it, how it is made."""
