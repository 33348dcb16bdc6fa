//! How whoever dials a relay, a node or another relay of its region, knows that it is the right one: by an authority,
//! by a pin of the DERP map, and by the relay's own key in its certificates. No socket comes in.

mod validity;
mod verify;

use std::sync::Arc;

use ginnel_derp::{Key, server_key_in_certificate};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, ProtocolVersion};

pub use verify::{Verifier, Verify};

/// TLS towards a relay that is known in this way.
pub fn client_config(verify: &Verify) -> Result<ClientConfig, String> {
    let provider = Arc::new(default_provider());
    Ok(ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verify.verifier(&provider)?)
        .with_no_client_auth())
}

/// The relay's key, if its certificates carry it and TLS is new enough for fast start.
pub fn fast_start_key(tls: &rustls::CommonState) -> Option<Key> {
    match tls.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => tls
            .peer_certificates()?
            .iter()
            .find_map(|der| server_key_in_certificate(der)),
        _ => None,
    }
}
