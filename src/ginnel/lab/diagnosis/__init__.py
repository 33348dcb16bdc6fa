"""Faults whose cause is known, done to networks that stand, and whether `ginnel doctor` finds it.

Room: lab. `fault.py` has the nouns, `faults_*.py` the faults as data, `run.py` runs one from a standing mesh
to a verdict.
"""
