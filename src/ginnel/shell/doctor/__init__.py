"""Gathers what `ginnel doctor` judges; nothing here draws a conclusion."""
