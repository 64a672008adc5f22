"""Compares the models with the databases."""
