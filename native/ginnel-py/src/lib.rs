//! The Python extension: converts arguments and errors, and holds no rule.

use pyo3::prelude::*;

/// The module `ginnel._native`.
#[pymodule]
mod _native {}
