//! The class `Pump`: arguments and errors converted, nothing decided.

use std::collections::HashMap;
use std::net::SocketAddr;

use ginnel_pump::{Aside, Key, Origin, Pump as Core, PumpError, RuleText};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

/// TUN <-> WireGuard <-> UDP and relays.
#[pyclass(frozen, module = "ginnel._native")]
pub struct Pump(Core);

/// One peer's counters.
#[pyclass(frozen, get_all, module = "ginnel._native")]
pub struct PeerCounters {
    key: Py<PyBytes>,
    tx_bytes: u64,
    rx_bytes: u64,
    last_handshake: f64,
    last_sent: f64,
    last_received: f64,
}

fn raise(error: PumpError) -> PyErr {
    match error {
        PumpError::Io(error) => match error.raw_os_error() {
            Some(errno) => PyOSError::new_err((errno, text_of(&error))),
            None => PyOSError::new_err(error.to_string()),
        },
        other => PyValueError::new_err(other.to_string()),
    }
}

/// The system's words without the number that Rust puts behind them: Python shows its own.
fn text_of(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

fn key(bytes: &[u8]) -> PyResult<Key> {
    bytes
        .try_into()
        .map_err(|_| PyValueError::new_err(format!("a key has 32 bytes, not {}", bytes.len())))
}

/// Sources, (destination, first port, last port), protocols.
type RuleArgument = (Vec<String>, Vec<(String, i64, i64)>, Vec<i64>);

fn rule((sources, destinations, protocols): RuleArgument) -> PyResult<RuleText> {
    let port =
        |n: i64| u16::try_from(n).map_err(|_| PyValueError::new_err(format!("{n} is no port")));
    let destinations = destinations
        .into_iter()
        .map(|(text, first, last)| Ok((text, port(first)?, port(last)?)))
        .collect::<PyResult<_>>()?;
    // What is above 255 is no IP protocol: nothing can match it.
    let protocols = protocols.into_iter().filter_map(|n| u8::try_from(n).ok());
    Ok((sources, destinations, protocols.collect()))
}

#[pymethods]
impl Pump {
    #[new]
    #[pyo3(signature = (private_key, *, mark = 0))]
    fn new(private_key: &[u8], mark: u32) -> PyResult<Pump> {
        Core::new(key(private_key)?, mark).map(Pump).map_err(raise)
    }

    fn open_tun(&self, py: Python<'_>, name: &str, mtu: u16) -> PyResult<String> {
        py.detach(|| self.0.open_tun(name, mtu)).map_err(raise)
    }

    fn bind(&self, py: Python<'_>, port: u16) -> PyResult<(u16, u16)> {
        py.detach(|| self.0.bind(port)).map_err(raise)
    }

    fn set_peer(&self, py: Python<'_>, key: &[u8], allowed_ips: Vec<String>) -> PyResult<()> {
        let key = self::key(key)?;
        py.detach(|| self.0.set_peer(key, &allowed_ips))
            .map_err(raise)
    }

    fn reset_peer(&self, py: Python<'_>, key: &[u8]) -> PyResult<()> {
        let key = self::key(key)?;
        py.detach(|| self.0.reset_peer(&key));
        Ok(())
    }

    fn ask_inside(&self, py: Python<'_>, key: &[u8], source: &str, to: &str) -> PyResult<()> {
        let key = self::key(key)?;
        py.detach(|| self.0.ask_inside(&key, source, to))
            .map_err(raise)
    }

    fn remove_peer(&self, py: Python<'_>, key: &[u8]) -> PyResult<()> {
        let key = self::key(key)?;
        py.detach(|| self.0.remove_peer(&key));
        Ok(())
    }

    #[pyo3(signature = (key, endpoint, region, *, socket = 0))]
    fn steer(
        &self,
        py: Python<'_>,
        key: &[u8],
        endpoint: Option<(String, u16)>,
        region: u32,
        socket: u32,
    ) -> PyResult<()> {
        let key = self::key(key)?;
        let endpoint = endpoint.as_ref().map(|(address, port)| (&**address, *port));
        py.detach(|| self.0.steer(&key, endpoint, region, socket))
            .map_err(raise)
    }

    fn set_addresses(&self, py: Python<'_>, addresses: Vec<String>) -> PyResult<()> {
        py.detach(|| self.0.set_addresses(&addresses))
            .map_err(raise)
    }

    fn set_filter(&self, py: Python<'_>, rules: Vec<RuleArgument>) -> PyResult<()> {
        let rules: Vec<RuleText> = rules.into_iter().map(rule).collect::<PyResult<_>>()?;
        py.detach(|| self.0.set_filter(&rules)).map_err(raise)
    }

    fn send_udp(&self, py: Python<'_>, to: (String, u16), packet: &[u8]) -> PyResult<()> {
        py.detach(|| self.0.send_udp(&to.0, to.1, packet))
            .map_err(raise)
    }

    fn open_sides(&self, py: Python<'_>, count: usize) -> PyResult<Vec<(u32, u16)>> {
        py.detach(|| self.0.open_sides(count)).map_err(raise)
    }

    fn close_sides(&self, py: Python<'_>, numbers: Vec<u32>) {
        py.detach(|| self.0.close_sides(&numbers));
    }

    #[pyo3(signature = (socket, to, packet, *, ttl = 0))]
    fn send_side(
        &self,
        py: Python<'_>,
        socket: u32,
        to: (String, u16),
        packet: &[u8],
        ttl: u8,
    ) -> PyResult<()> {
        py.detach(|| self.0.send_side(socket, &to.0, to.1, packet, ttl))
            .map_err(raise)
    }

    fn relay_open(
        &self,
        py: Python<'_>,
        region: u32,
        server_name: &str,
        addresses: Vec<(String, u16)>,
        verify: &str,
    ) -> PyResult<()> {
        py.detach(|| self.0.relay_open(region, server_name, &addresses, verify))
            .map_err(raise)
    }

    fn relay_move(
        &self,
        py: Python<'_>,
        region: u32,
        server_name: &str,
        addresses: Vec<(String, u16)>,
        verify: &str,
    ) -> PyResult<()> {
        py.detach(|| self.0.relay_move(region, server_name, &addresses, verify))
            .map_err(raise)
    }

    fn relay_close(&self, py: Python<'_>, region: u32) {
        py.detach(|| self.0.relay_close(region));
    }

    fn relay_prefer(&self, py: Python<'_>, region: u32) {
        py.detach(|| self.0.relay_prefer(region));
    }

    fn relay_send(&self, py: Python<'_>, region: u32, to: &[u8], packet: &[u8]) -> PyResult<()> {
        let to = key(to)?;
        py.detach(|| self.0.relay_send(region, &to, packet));
        Ok(())
    }

    fn drain<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<Vec<Bound<'py, PyTuple>>> {
        let asides = py.detach(|| self.0.drain(limit));
        asides.into_iter().map(|aside| tuple(py, aside)).collect()
    }

    fn fileno(&self) -> i32 {
        self.0.as_raw_fd()
    }

    fn peers(&self, py: Python<'_>) -> Vec<PeerCounters> {
        let peers = py.detach(|| self.0.peers());
        peers
            .into_iter()
            .map(|peer| PeerCounters {
                key: PyBytes::new(py, &peer.key).unbind(),
                tx_bytes: peer.tx_bytes,
                rx_bytes: peer.rx_bytes,
                last_handshake: peer.last_handshake,
                last_sent: peer.last_sent,
                last_received: peer.last_received,
            })
            .collect()
    }

    fn counters(&self) -> HashMap<&'static str, u64> {
        self.0.counters().into_iter().collect()
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.0.close());
    }
}

fn address(address: SocketAddr) -> (String, u16) {
    let text = match address {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
        other => other.ip().to_string(),
    };
    (text, address.port())
}

/// An address, and behind it the side socket's number where it was one.
fn way(py: Python<'_>, address: SocketAddr, socket: u32) -> PyResult<Bound<'_, PyTuple>> {
    let (ip, port) = self::address(address);
    match socket {
        0 => (ip, port).into_pyobject(py),
        side => (ip, port, side).into_pyobject(py),
    }
}

fn tuple(py: Python<'_>, aside: Aside) -> PyResult<Bound<'_, PyTuple>> {
    let bytes = |data: &[u8]| PyBytes::new(py, data);
    match aside {
        Aside::Disco(from, socket, data) => {
            ("disco", way(py, from, socket)?, bytes(&data)).into_pyobject(py)
        }
        Aside::Stun(from, socket, data) => {
            ("stun", way(py, from, socket)?, bytes(&data)).into_pyobject(py)
        }
        Aside::RelayedDisco(region, key, data) => {
            ("relayed-disco", region, bytes(&key), bytes(&data)).into_pyobject(py)
        }
        Aside::Sent(key) => ("sent", bytes(&key)).into_pyobject(py),
        Aside::Received(key, Origin::Endpoint(from)) => {
            ("received", bytes(&key), address(from)).into_pyobject(py)
        }
        Aside::Received(key, Origin::Side(from, socket)) => {
            ("received", bytes(&key), way(py, from, socket)?).into_pyobject(py)
        }
        Aside::Received(key, Origin::Region(region)) => {
            ("received", bytes(&key), region).into_pyobject(py)
        }
        Aside::Handshake(key) => ("handshake", bytes(&key)).into_pyobject(py),
        Aside::PeerDisco(key, disco) => {
            ("peer-disco", bytes(&key), bytes(&disco)).into_pyobject(py)
        }
        Aside::Unsendable(to, socket, errno) => {
            ("unsendable", way(py, to, socket)?, errno).into_pyobject(py)
        }
        Aside::RelayWanted(region) => ("relay-wanted", region).into_pyobject(py),
        Aside::RelayUp(region, key, at) => {
            ("relay-up", region, bytes(&key), address(at)).into_pyobject(py)
        }
        Aside::RelayDown(region, why, silent) => {
            ("relay-down", region, why, silent).into_pyobject(py)
        }
        Aside::RelayStayed(region, why) => ("relay-stayed", region, why).into_pyobject(py),
        Aside::RelayGone(region, key, reason) => {
            ("relay-gone", region, bytes(&key), reason).into_pyobject(py)
        }
        Aside::RelayHealth(region, problem) => ("relay-health", region, problem).into_pyobject(py),
        Aside::RelayRestarting(region, reconnect, attempt) => {
            ("relay-restarting", region, reconnect, attempt).into_pyobject(py)
        }
    }
}
