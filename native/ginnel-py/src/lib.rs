//! The Python extension: converts arguments and errors, and holds no rule.

mod relay;

use pyo3::prelude::*;

/// The module `ginnel._native`.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::relay::Relay;
}
