//! `_native.Relay`: the front door for Python.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::Duration;

use ginnel_derp::{Key, Secret};
use ginnel_relay::{Config, Limits, Rate, RelayError};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

type Address = (String, u16);
type Question<'py> = (u64, Bound<'py, PyBytes>, String);
type Client<'py> = (Bound<'py, PyBytes>, Address, u64, u64);

/// The front door: TLS with DERP and the splice, port 80, STUN.
#[pyclass(frozen, module = "ginnel._native")]
pub struct Relay(ginnel_relay::Relay);

#[pymethods]
impl Relay {
    #[new]
    #[pyo3(signature = (
        private_key, *, certificate, certificate_key, tls, http, stun, splice, members_only, threads = 2,
        handshake_timeout = 10.0, write_timeout = 2.0, limits = HashMap::new(), inherited = Vec::new(),
        ask_before_login = false
    ))]
    #[allow(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn new(
        py: Python<'_>,
        private_key: &[u8],
        certificate: &[u8],
        certificate_key: &[u8],
        tls: Vec<String>,
        http: Vec<String>,
        stun: Vec<String>,
        splice: Option<PathBuf>,
        members_only: bool,
        threads: usize,
        handshake_timeout: f64,
        write_timeout: f64,
        limits: HashMap<String, f64>,
        inherited: Vec<RawFd>,
        ask_before_login: bool,
    ) -> PyResult<Self> {
        let mut limits = read_limits(limits)?;
        limits.handshake = seconds(handshake_timeout)?;
        limits.write = seconds(write_timeout)?;
        let config = Config {
            secret: Secret::new(key(private_key)?),
            certificate: certificate.to_vec(),
            certificate_key: certificate_key.to_vec(),
            tls: listen_addresses(&tls)?,
            http: listen_addresses(&http)?,
            stun: listen_addresses(&stun)?,
            splice,
            members_only,
            ask_before_login,
            inherited: copies(&inherited)?,
            threads,
            limits,
        };
        py.detach(|| ginnel_relay::Relay::start(config))
            .map(Self)
            .map_err(python_error)
    }

    fn addresses(&self) -> HashMap<&'static str, Vec<Address>> {
        let rows = [
            ("tls", self.0.tls_addresses()),
            ("http", self.0.http_addresses()),
            ("stun", self.0.stun_addresses()),
        ];
        rows.into_iter()
            .map(|(name, found)| (name, found.iter().map(address).collect()))
            .collect()
    }

    fn set_certificate(&self, certificate: &[u8], certificate_key: &[u8]) -> PyResult<()> {
        self.0
            .set_certificate(certificate, certificate_key)
            .map_err(python_error)
    }

    fn set_challenge(
        &self,
        name: &str,
        certificate: &[u8],
        certificate_key: &[u8],
    ) -> PyResult<()> {
        self.0
            .set_challenge(name, certificate, certificate_key)
            .map_err(python_error)
    }

    fn clear_challenges(&self) -> PyResult<()> {
        self.0.clear_challenges().map_err(python_error)
    }

    fn set_http_challenges(&self, tokens: HashMap<String, String>) {
        self.0.set_http_challenges(tokens);
    }

    fn questions_fileno(&self) -> RawFd {
        self.0.questions_fileno()
    }

    fn take_questions<'py>(&self, py: Python<'py>) -> Vec<Question<'py>> {
        let questions = self.0.take_questions();
        let row = |(number, key, source): ginnel_relay::Question| {
            (number, PyBytes::new(py, &key), source.to_string())
        };
        questions.into_iter().map(row).collect()
    }

    fn answer(&self, number: u64, allow: bool) {
        self.0.answer(number, allow);
    }

    fn stop_listening(&self) {
        self.0.stop_listening();
    }

    fn half_open(&self) -> usize {
        self.0.half_open()
    }

    fn set_members(&self, py: Python<'_>, keys: Vec<Vec<u8>>) -> PyResult<()> {
        let keys: HashSet<Key> = keys.iter().map(|raw| key(raw)).collect::<PyResult<_>>()?;
        py.detach(|| self.0.set_members(keys));
        Ok(())
    }

    #[pyo3(name = "add_member")]
    fn add_member(&self, key: &[u8]) -> PyResult<()> {
        self.0.add_member(self::key(key)?);
        Ok(())
    }

    fn remove_member(&self, py: Python<'_>, key: &[u8]) -> PyResult<()> {
        let key = self::key(key)?;
        py.detach(|| self.0.remove_member(&key));
        Ok(())
    }

    fn set_bootstrap_dns(&self, body: &[u8]) -> PyResult<()> {
        let text = std::str::from_utf8(body)
            .map_err(|_| PyValueError::new_err("expected JSON in UTF-8"))?;
        self.0.set_bootstrap_dns(text);
        Ok(())
    }

    fn clients<'py>(&self, py: Python<'py>) -> Vec<Client<'py>> {
        let rows = py.detach(|| self.0.clients());
        let row = |(key, source, bytes_in, bytes_out): (Key, SocketAddr, u64, u64)| {
            (
                PyBytes::new(py, &key),
                address(&source),
                bytes_in,
                bytes_out,
            )
        };
        rows.into_iter().map(row).collect()
    }

    fn counters(&self) -> HashMap<&'static str, u64> {
        self.0.counters().into_iter().collect()
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.0.close());
    }
}

fn key(raw: &[u8]) -> PyResult<Key> {
    raw.try_into()
        .map_err(|_| PyValueError::new_err(format!("expected 32 bytes of key, got {}", raw.len())))
}

/// The relay closes what it uses, and Python's own stay open.
fn copies(descriptors: &[RawFd]) -> PyResult<Vec<OwnedFd>> {
    let copy = |&fd: &RawFd| {
        if fd < 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::InvalidInput));
        }
        // SAFETY: not -1; whether it is open is what the call finds out, and nothing else is done with it.
        unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()
    };
    Ok(descriptors.iter().map(copy).collect::<Result<_, _>>()?)
}

fn read_limits(given: HashMap<String, f64>) -> PyResult<Limits> {
    let mut limits = Limits::default();
    let (mut bytes_per_second, mut burst) = (0, 0);
    for (name, number) in given {
        match name.as_str() {
            "keep_alive" => limits.keep_alive = seconds(number)?,
            "connections" => limits.connections = whole(&name, number)? as usize,
            "per_prefix" => limits.per_prefix = whole(&name, number)?,
            "half_open_per_prefix" => limits.half_open_per_prefix = whole(&name, number)?,
            "limit_loopback" => limits.limit_loopback = whole(&name, number)? != 0,
            "receive_rate" => bytes_per_second = whole(&name, number)?.into(),
            "receive_burst" => burst = whole(&name, number)?.into(),
            "stun_rate" => limits.stun_rate = whole(&name, number)?,
            _ => return Err(PyValueError::new_err(format!("no limit is named {name:?}"))),
        }
    }
    limits.receive = (bytes_per_second > 0).then_some(Rate {
        bytes_per_second,
        burst,
    });
    Ok(limits)
}

fn whole(name: &str, number: f64) -> PyResult<u32> {
    let fits = (0.0..=f64::from(u32::MAX)).contains(&number) && number.fract() == 0.0;
    fits.then_some(number as u32).ok_or_else(|| {
        PyValueError::new_err(format!(
            "expected a whole number below 2^32 as {name}, got {number}"
        ))
    })
}

fn seconds(number: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(number)
        .map_err(|_| PyValueError::new_err(format!("not a time limit: {number}")))
}

fn listen_addresses(texts: &[String]) -> PyResult<Vec<SocketAddr>> {
    let one = |text: &String| {
        text.parse().map_err(|_| {
            PyValueError::new_err(format!("expected ip:port to listen on, got {text:?}"))
        })
    };
    texts.iter().map(one).collect()
}

fn address(address: &SocketAddr) -> Address {
    (address.ip().to_string(), address.port())
}

fn python_error(error: RelayError) -> PyErr {
    let text = error.to_string();
    match error {
        RelayError::Certificate(_) => PyValueError::new_err(text),
        RelayError::Listen { source, .. } | RelayError::System(source) => {
            match source.raw_os_error() {
                Some(number) => PyOSError::new_err((number, text)),
                None => PyOSError::new_err(text),
            }
        }
    }
}
