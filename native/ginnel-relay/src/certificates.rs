//! Which certificate a handshake gets: the relay's own, or one that proves a name to an ACME authority (RFC 8737).

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::config::RelayError;

/// The protocol by which an authority asks for the proof.
pub(crate) const ACME_TLS: &[u8] = b"acme-tls/1";
const HTTP: &[u8] = b"http/1.1";

type Challenges = HashMap<String, Arc<CertifiedKey>>;

pub(crate) struct Certificates {
    /// What handshakes look at; made anew with each change, so that those under way keep theirs.
    served: RwLock<Arc<ServerConfig>>,
    kept: Mutex<Kept>,
}

struct Kept {
    own: Arc<CertifiedKey>,
    challenges: Challenges,
}

impl Certificates {
    /// PEM chain and key.
    pub(crate) fn new(chain: &[u8], key: &[u8]) -> Result<Self, RelayError> {
        let kept = Kept {
            own: certified(chain, key)?,
            challenges: Challenges::new(),
        };
        Ok(Self {
            served: RwLock::new(server_config(&kept)?),
            kept: Mutex::new(kept),
        })
    }

    pub(crate) fn served(&self) -> Arc<ServerConfig> {
        self.served.read().clone()
    }

    /// For handshakes from now on; a bad pair changes nothing.
    pub(crate) fn set(&self, chain: &[u8], key: &[u8]) -> Result<(), RelayError> {
        let own = certified(chain, key)?;
        self.change(|kept| kept.own = own)
    }

    /// Prove `name` to who asks by `acme-tls/1`.
    pub(crate) fn set_challenge(
        &self,
        name: &str,
        chain: &[u8],
        key: &[u8],
    ) -> Result<(), RelayError> {
        let proof = unchecked(chain, key)?;
        let name = name.to_ascii_lowercase();
        self.change(|kept| drop(kept.challenges.insert(name, proof)))
    }

    pub(crate) fn clear_challenges(&self) -> Result<(), RelayError> {
        self.change(|kept| kept.challenges.clear())
    }

    fn change(&self, act: impl FnOnce(&mut Kept)) -> Result<(), RelayError> {
        let mut kept = self.kept.lock();
        act(&mut kept);
        *self.served.write() = server_config(&kept)?;
        Ok(())
    }
}

#[derive(Debug)]
struct Choice {
    own: Arc<CertifiedKey>,
    challenges: Challenges,
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let proof_asked = hello
            .alpn()
            .is_some_and(|mut names| names.next() == Some(ACME_TLS) && names.next().is_none());
        match proof_asked {
            true => self
                .challenges
                .get(&hello.server_name()?.to_ascii_lowercase())
                .cloned(),
            false => Some(self.own.clone()),
        }
    }
}

/// Tickets are off: relay clients don't resume, and each would cost memory.
fn server_config(kept: &Kept) -> Result<Arc<ServerConfig>, RelayError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|e| RelayError::Certificate(e.to_string()))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Choice {
            own: kept.own.clone(),
            challenges: kept.challenges.clone(),
        }));
    config.alpn_protocols = vec![HTTP.to_vec()];
    if !kept.challenges.is_empty() {
        config.alpn_protocols.push(ACME_TLS.to_vec());
    }
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn certified(chain: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, RelayError> {
    let certified = unchecked(chain, key)?;
    certified
        .keys_match()
        .map_err(|e| RelayError::Certificate(format!("certificate and key don't fit: {e}")))?;
    Ok(certified)
}

/// The proof's certificate has an extension that is critical, which rustls does not know and so does not read on.
fn unchecked(chain: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, RelayError> {
    let bad = |why: String| RelayError::Certificate(why);
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<_, _>>()
        .map_err(|e| bad(format!("the certificate is not PEM: {e}")))?;
    if chain.is_empty() {
        return Err(bad("the certificate file holds no certificate".into()));
    }
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| bad("the key file holds no PEM private key".into()))?;
    let key = provider()
        .key_provider
        .load_private_key(key)
        .map_err(|e| bad(format!("the key can't be used: {e}")))?;
    Ok(Arc::new(CertifiedKey::new(chain, key)))
}
