//! `_native.Relay`: the front door for Python.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::Duration;

use ginnel_derp::{Key, Secret};
use ginnel_relay::{Config, Limits, MeshKey, MeshPeer, MeshRow, Rate, RelayError, Verify};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

type Address = (String, u16);
type Question<'py> = (u64, Bound<'py, PyBytes>, String);
/// Host, addresses, port, certificate name as in a DERP map.
type Peer = (String, Vec<String>, u16, String);
type GivenRate = Option<(u64, u64)>;
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

    #[pyo3(signature = (published, unpublished))]
    fn set_bootstrap_dns(&self, published: &str, unpublished: HashMap<String, String>) {
        self.0.set_bootstrap_dns(published, unpublished);
    }

    #[pyo3(signature = (key, peers))]
    fn set_mesh(&self, py: Python<'_>, key: Option<&[u8]>, peers: Vec<Peer>) -> PyResult<()> {
        let key = key.map(mesh_key).transpose()?;
        let peers: Vec<MeshPeer> = peers.iter().map(mesh_peer).collect::<PyResult<_>>()?;
        py.detach(|| self.0.set_mesh(key, peers));
        Ok(())
    }

    fn mesh(&self) -> Vec<MeshRow> {
        self.0.mesh()
    }

    fn set_health(&self, py: Python<'_>, text: &str) {
        py.detach(|| self.0.set_health(text));
    }

    fn drain(&self, py: Python<'_>, reconnect_in: f64, try_for: f64) -> PyResult<()> {
        let (reconnect_in, try_for) = (milliseconds(reconnect_in)?, milliseconds(try_for)?);
        py.detach(|| self.0.drain(reconnect_in, try_for));
        Ok(())
    }

    fn undrain(&self) {
        self.0.undrain();
    }

    #[pyo3(signature = (over = 0.0))]
    fn close_clients(&self, over: f64) -> PyResult<()> {
        self.0.close_clients(seconds(over)?);
        Ok(())
    }

    fn client_count(&self) -> u64 {
        self.0.client_count()
    }

    #[pyo3(signature = (client, total))]
    fn set_rates(&self, client: GivenRate, total: GivenRate) -> PyResult<()> {
        self.0.set_rates(given_rate(client)?, given_rate(total)?);
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

fn mesh_key(raw: &[u8]) -> PyResult<MeshKey> {
    let random = raw.try_into().ok().and_then(MeshKey::new);
    random.ok_or_else(|| PyValueError::new_err("expected 32 random bytes of mesh key"))
}

fn mesh_peer((host, addresses, port, name): &Peer) -> PyResult<MeshPeer> {
    let verify = match name.as_str() {
        "" => format!("name:{host}"),
        pin if pin.starts_with("sha256-raw:") => pin.to_owned(),
        name => format!("name:{name}"),
    };
    let bad = || {
        PyValueError::new_err(format!(
            "expected host, IP addresses, port and certificate name of a relay, got {host:?}, {addresses:?}, {port}, {name:?}"
        ))
    };
    Ok(MeshPeer {
        host: host.clone(),
        addresses: addresses
            .iter()
            .map(|ip| ip.parse().map_err(|_| bad()))
            .collect::<PyResult<_>>()?,
        port: *port,
        verify: Verify::parse(&verify).ok_or_else(bad)?,
    })
}

fn given_rate(given: GivenRate) -> PyResult<Option<Rate>> {
    match given {
        Some((0, _)) => Err(PyValueError::new_err(
            "a rate is at least 1 byte a second, or None",
        )),
        _ => Ok(given.map(|(bytes_per_second, burst)| Rate {
            bytes_per_second,
            burst,
        })),
    }
}

fn milliseconds(seconds: f64) -> PyResult<u32> {
    let exact = (seconds * 1000.0).round();
    let fits = (0.0..=f64::from(u32::MAX)).contains(&exact);
    fits.then_some(exact as u32)
        .ok_or_else(|| PyValueError::new_err(format!("not a time to wait: {seconds}")))
}

fn read_limits(given: HashMap<String, f64>) -> PyResult<Limits> {
    let mut limits = Limits::default();
    let (mut each, mut total) = ((0, 0), (0, 0));
    for (name, number) in given {
        match name.as_str() {
            "keep_alive" => limits.keep_alive = seconds(number)?,
            "connections" => limits.connections = whole(&name, number)? as usize,
            "per_prefix" => limits.per_prefix = whole(&name, number)?,
            "half_open_per_prefix" => limits.half_open_per_prefix = whole(&name, number)?,
            "limit_loopback" => limits.limit_loopback = whole(&name, number)? != 0,
            "receive_rate" => each.0 = whole(&name, number)?.into(),
            "receive_burst" => each.1 = whole(&name, number)?.into(),
            "total_rate" => total.0 = whole(&name, number)?.into(),
            "total_burst" => total.1 = whole(&name, number)?.into(),
            "park_fighters" => limits.park_fighters = whole(&name, number)? != 0,
            "mesh_retry" => limits.mesh_retry = seconds(number)?,
            "mesh_write" => limits.mesh_write = seconds(number)?,
            "stun_rate" => limits.stun_rate = whole(&name, number)?,
            _ => return Err(PyValueError::new_err(format!("no limit is named {name:?}"))),
        }
    }
    limits.receive = given_rate((each.0 > 0).then_some(each))?;
    limits.receive_total = given_rate((total.0 > 0).then_some(total))?;
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
