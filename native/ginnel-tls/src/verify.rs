//! Whether a relay's certificate is the right one (tailscale: derp/derphttp/derphttp_client.go, net/tlsdial/tlsdial.go).

use std::sync::Arc;

use ginnel_derp::server_key_in_certificate;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::validity;

/// How a relay is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verify {
    /// A trusted authority, or the user, vouches for this name.
    Name(String),
    /// The SHA-256 of the certificate.
    Pin([u8; 32]),
    /// Anything goes: for tests.
    Insecure,
}

impl Verify {
    /// `name:<host>`, `sha256-raw:<64 hex digits>` or `insecure`.
    pub fn parse(text: &str) -> Option<Verify> {
        match text.split_once(':') {
            None if text == "insecure" => Some(Verify::Insecure),
            Some(("name", host)) if ServerName::try_from(host).is_ok() => {
                Some(Verify::Name(host.to_owned()))
            }
            Some(("sha256-raw", digits)) => unhex(digits).map(Verify::Pin),
            _ => None,
        }
    }

    /// The verifier for it.
    pub fn verifier(&self, provider: &Arc<CryptoProvider>) -> Result<Arc<Verifier>, String> {
        let (rule, trusted) = match self {
            Verify::Insecure => (Rule::Anything, Vec::new()),
            Verify::Pin(hash) => (Rule::Pin(*hash), Vec::new()),
            Verify::Name(name) => {
                let trusted = extra_roots()?;
                let name = ServerName::try_from(name.clone()).map_err(|e| e.to_string())?;
                (Rule::Name(name, authorities(&trusted, provider)?), trusted)
            }
        };
        Ok(Arc::new(Verifier {
            rule,
            trusted,
            provider: Arc::clone(provider),
        }))
    }
}

fn unhex(digits: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(hash)
}

/// The certificates in the file that `SSL_CERT_FILE` names, as OpenSSL and Go take it.
fn extra_roots() -> Result<Vec<CertificateDer<'static>>, String> {
    let Some(path) = std::env::var_os("SSL_CERT_FILE") else {
        return Ok(Vec::new());
    };
    let unreadable = |e| format!("cannot read SSL_CERT_FILE {}: {e}", path.to_string_lossy());
    CertificateDer::pem_file_iter(&path)
        .map_err(unreadable)?
        .collect::<Result<_, _>>()
        .map_err(unreadable)
}

fn authorities(
    trusted: &[CertificateDer<'static>],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, String> {
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    roots.add_parsable_certificates(trusted.iter().cloned());
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|e| e.to_string())
}

/// Checks one relay's certificates.
#[derive(Debug)]
pub struct Verifier {
    rule: Rule,
    trusted: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
enum Rule {
    Name(ServerName<'static>, Arc<WebPkiServerVerifier>),
    Pin([u8; 32]),
    Anything,
}

impl Verifier {
    fn check_pin(
        &self,
        hash: &[u8; 32],
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        if others.iter().any(|other| !carries_relay_key(other)) {
            return Err(general("a pinned relay must send exactly one certificate"));
        }
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, leaf);
        if digest.as_ref() != hash {
            return Err(general("the certificate is not the pinned one"));
        }
        validity::check(leaf, now)?;
        match server_name {
            ServerName::DnsName(_) => {
                verify_server_name(&ParsedCertificate::try_from(leaf)?, server_name)
            }
            _ => Ok(()),
        }
    }

    fn check_name(
        &self,
        name: &ServerName<'static>,
        authorities: &WebPkiServerVerifier,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if self.trusted.iter().any(|trusted| trusted == leaf) {
            // The user vouches for this very certificate; webpki would refuse it as a leaf for being an authority.
            validity::check(leaf, now)?;
            return verify_server_name(&ParsedCertificate::try_from(leaf)?, name);
        }
        let chain: Vec<CertificateDer<'_>> = others
            .iter()
            .filter(|other| !carries_relay_key(other))
            .cloned()
            .collect();
        authorities
            .verify_server_cert(leaf, &chain, name, &[], now)
            .map(|_| ())
    }
}

fn carries_relay_key(certificate: &CertificateDer<'_>) -> bool {
    server_key_in_certificate(certificate).is_some()
}

fn general(why: &str) -> Error {
    Error::General(why.to_owned())
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.rule {
            Rule::Anything => Ok(()),
            Rule::Pin(hash) => self.check_pin(hash, leaf, others, server_name, now),
            Rule::Name(name, authorities) => self.check_name(name, authorities, leaf, others, now),
        }?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// The error for a certificate whose dates cannot be read.
pub fn unreadable() -> Error {
    Error::InvalidCertificate(CertificateError::BadEncoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_ways_are_read_and_nothing_else() {
        let pin = format!("sha256-raw:{}", "0a".repeat(32));
        assert_eq!(Verify::parse(&pin), Some(Verify::Pin([10; 32])));
        assert_eq!(Verify::parse("insecure"), Some(Verify::Insecure));
        assert_eq!(
            Verify::parse("name:derp1.example.org"),
            Some(Verify::Name("derp1.example.org".to_owned()))
        );
        for bad in [
            "",
            "name:",
            "name:a b",
            "sha256-raw:0a",
            "insecure:",
            "sha256:0a",
            &pin[..40],
        ] {
            assert_eq!(Verify::parse(bad), None, "{bad}");
        }
    }
}
