//! What the door can be told while it is open.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::certificates::Certificates;
use crate::config::{Config, RelayError};
use crate::verify::Verifier;

pub(crate) struct Front {
    pub(crate) certificates: Certificates,
    /// Token -> what an ACME authority wants to read there (RFC 8555 §8.3).
    pub(crate) http_challenges: RwLock<Arc<HashMap<String, String>>>,
    pub(crate) verifier: Verifier,
}

impl Front {
    pub(crate) fn new(config: &Config) -> Result<Self, RelayError> {
        Ok(Self {
            certificates: Certificates::new(&config.certificate, &config.certificate_key)?,
            http_challenges: RwLock::default(),
            verifier: Verifier::new(config.ask_before_login)?,
        })
    }
}
