"""Looks at the databases and tells what is there."""
