//! The Python extension: converts arguments and errors, and holds no rule.

use pyo3::prelude::*;

mod pump;

/// The module `ginnel._native`.
#[pymodule]
mod _native {
    #[pymodule_export]
    use crate::pump::{PeerCounters, Pump};
}
