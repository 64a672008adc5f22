"""Runs a plan on the databases that env.py opens."""
