//! A load for any DERP relay: pairs of clients, one sending and one receiving. A sender keeps at most a window of
//! packets under way, as TCP in a tunnel does: without one (`--window 0`), any relay mostly drops.
//!
//! `ginnel-derp-load ADDRESS [--pairs N] [--size BYTES] [--seconds S] [--window PACKETS] [--glue BYTES] [--rate PACKETS]
//! [--flood N] [--idle N] [--name HOST]` prints `ready` when all are logged in, waits for a line on stdin, runs, and prints one line of JSON.
//! `--glue` is how much a sender puts into one write and one TLS record: 0 means each packet alone, as Go's client
//! sends, whose every packet is a flush. With `--idle` it only holds that many logins until stdin ends. One more pair
//! sends a packet every 5 ms and measures how long it takes through the loaded relay. What counts as received arrived
//! whole and in order. `--rate` is what each sender offers a second, 0 as much as goes. `--flood` adds so many senders
//! without window or rate, all to one receiver; they are counted apart. The relay's certificate is not verified: this measures, and carries nothing.

use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ginnel_derp::{
    Client, ClientInfo, Config, Event, Key, Secret, kind, put_packet, server_key_in_certificate,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Silence after which what is under way counts as lost.
const LOST: Duration = Duration::from_millis(100);
const PROBE_EVERY: Duration = Duration::from_millis(5);

#[derive(Clone)]
struct Options {
    address: SocketAddr,
    name: String,
    pairs: usize,
    size: usize,
    seconds: f64,
    window: u64,
    glue: usize,
    rate: f64,
    flood: usize,
    idle: usize,
}

impl Options {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let address = words
            .next()
            .ok_or("expected the relay's ip:port")?
            .parse()?;
        let name = String::from("relay.test");
        let mut options = Self {
            address,
            name,
            pairs: 1,
            size: 1300,
            seconds: 3.0,
            window: 256,
            glue: 16 << 10,
            rate: 0.0,
            flood: 0,
            idle: 0,
        };
        while let Some(option) = words.next() {
            let value = words
                .next()
                .ok_or_else(|| format!("{option} needs a value"))?;
            match option.as_str() {
                "--pairs" => options.pairs = value.parse()?,
                "--size" => options.size = value.parse()?,
                "--seconds" => options.seconds = value.parse()?,
                "--window" => options.window = value.parse()?,
                "--glue" => options.glue = value.parse()?,
                "--rate" => options.rate = value.parse()?,
                "--flood" => options.flood = value.parse()?,
                "--idle" => options.idle = value.parse()?,
                "--name" => options.name = value,
                _ => return Err(format!("unknown option {option}").into()),
            }
        }
        options.size = options.size.clamp(16, ginnel_derp::MAX_PACKET_SIZE);
        options.seconds = options.seconds.clamp(0.1, 60.0);
        Ok(options)
    }
}

#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn tls_config() -> Result<Arc<ClientConfig>> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    // As Go's clients prefer it where the processor has AES.
    provider
        .cipher_suites
        .sort_by_key(|suite| !format!("{:?}", suite.suite()).contains("AES_128"));
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// A logged-in client with a blocking socket.
struct Peer {
    key: Key,
    tcp: TcpStream,
    tls: ClientConnection,
    derp: Client,
}

fn random() -> Result<Key> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| "no randomness")?;
    Ok(bytes)
}

impl Peer {
    fn connect(options: &Options, config: &Arc<ClientConfig>) -> Result<Self> {
        let mut tcp = TcpStream::connect(options.address)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut tls =
            ClientConnection::new(config.clone(), ServerName::try_from(options.name.clone())?)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp)?;
        }
        let chain = tls.peer_certificates().unwrap_or_default();
        let fast_start = chain
            .iter()
            .find_map(|certificate| server_key_in_certificate(certificate));
        let secret = Secret::new(random()?);
        let key = secret.public();
        let nonce = random()?[..24].try_into()?;
        let host = options.name.clone();
        let mut out = Vec::new();
        let info = ClientInfo::node("");
        let derp = Client::start(
            Config {
                secret,
                nonce,
                host,
                ideal_node: None,
                fast_start,
                info,
            },
            &mut out,
        );
        let mut peer = Self {
            key,
            tcp,
            tls,
            derp,
        };
        peer.send(&out)?;
        let mut open = false;
        while !open {
            peer.receive(|event| open |= matches!(event, Event::Ready { .. }))?;
        }
        Ok(peer)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() || self.tls.wants_write() {
            rest = &rest[self.tls.writer().write(rest)?..];
            while self.tls.wants_write() {
                self.tls.write_tls(&mut self.tcp)?;
            }
        }
        Ok(())
    }

    /// Wait for bytes and handle what they hold. Errors at the end of the stream.
    fn receive(&mut self, mut each: impl FnMut(Event<'_>)) -> Result<()> {
        if self.tls.read_tls(&mut self.tcp)? == 0 {
            return Err("the relay closed the connection".into());
        }
        self.tls.process_new_packets()?;
        let mut out = Vec::new();
        loop {
            match self.tls.reader().read(self.derp.space()) {
                Ok(0) => return Err("the relay closed the connection".into()),
                Ok(size) => self.derp.filled(size),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(e.into()),
            }
            while let Some(event) = self.derp.next_event(&mut out)? {
                each(event);
            }
        }
        if out.is_empty() {
            Ok(())
        } else {
            self.send(&out)
        }
    }
}

#[derive(Default)]
struct Totals {
    stop: AtomicBool,
    sent: AtomicU64,
    received: AtomicU64,
    /// Of another size, twice, or late.
    wrong: AtomicU64,
}

/// How far one pair is: numbers of packets, written into them, so that lost ones don't narrow the window.
#[derive(Default)]
struct Pair {
    arrived: Mutex<u64>,
    moved: Condvar,
}

impl Pair {
    fn arrived(&self, number: u64) {
        *self.arrived.lock().unwrap_or_else(PoisonError::into_inner) = number;
        self.moved.notify_one();
    }

    /// Wait until `number` is within the window, or long enough that the rest must be lost.
    fn wait_for(&self, number: u64, window: u64) {
        let arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |arrived: &mut u64| number > *arrived + window;
        let (mut arrived, timeout) = self
            .moved
            .wait_timeout_while(arrived, LOST, full)
            .unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() {
            *arrived = number;
        }
    }
}

fn send_until_stopped(
    mut peer: Peer,
    to: Key,
    options: &Options,
    pair: &Pair,
    totals: &Totals,
) -> Result<()> {
    let mut batch = Vec::new();
    let mut packet = vec![0x5a; options.size];
    let count = (options.glue as u64 / (options.size as u64 + 37)).max(1);
    let mut number = 0;
    let start = Instant::now();
    while !totals.stop.load(Ordering::Relaxed) {
        if options.rate > 0.0 {
            let due = start + Duration::from_secs_f64(number as f64 / options.rate);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        batch.clear();
        for _ in 0..count {
            number += 1;
            packet[..8].copy_from_slice(&u64::to_be_bytes(number));
            put_packet(&mut batch, kind::SEND_PACKET, &to, &packet)?;
        }
        if options.window > 0 {
            pair.wait_for(number, options.window.max(count));
        }
        peer.send(&batch)?;
        totals.sent.fetch_add(count, Ordering::Relaxed);
    }
    Ok(())
}

fn receive_until_stopped(mut peer: Peer, size: usize, pair: &Pair, totals: &Totals) -> Result<()> {
    peer.tcp
        .set_read_timeout(Some(Duration::from_millis(200)))?;
    let mut last = 0;
    loop {
        let (mut count, mut wrong) = (0, 0);
        let result = peer.receive(|event| {
            let Event::Received { packet, .. } = event else {
                return;
            };
            match packet.first_chunk().map(|bytes| u64::from_be_bytes(*bytes)) {
                Some(number) if packet.len() == size && number > last => {
                    count += 1;
                    last = number;
                }
                _ => wrong += 1,
            }
        });
        totals.received.fetch_add(count, Ordering::Relaxed);
        totals.wrong.fetch_add(wrong, Ordering::Relaxed);
        if count > 0 {
            pair.arrived(last);
        }
        if result.is_err() && totals.stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        if let Err(error) = result {
            match error.downcast_ref::<std::io::Error>() {
                Some(e) if e.kind() == ErrorKind::WouldBlock => {}
                _ => return Err(error),
            }
        }
    }
}

/// Sends itself packets through the relay; returns how long each took, in microseconds.
fn probe(mut peer: Peer, totals: &Totals) -> Result<Vec<u64>> {
    let mut times = Vec::new();
    let mut frame = Vec::new();
    put_packet(&mut frame, kind::SEND_PACKET, &peer.key, &[1; 100])?;
    while !totals.stop.load(Ordering::Relaxed) {
        let start = Instant::now();
        peer.send(&frame)?;
        let mut came = false;
        while !came {
            peer.receive(|event| came |= matches!(event, Event::Received { .. }))?;
        }
        times.push(start.elapsed().as_micros() as u64);
        std::thread::sleep(PROBE_EVERY);
    }
    Ok(times)
}

fn wait_for_line() -> Result<()> {
    println!("ready");
    std::io::stdout().flush()?;
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}

fn load(options: &Options) -> Result<()> {
    let config = tls_config()?;
    let mut threads = Vec::new();
    let totals = Arc::new(Totals::default());
    let flooded = Arc::new(Totals::default());
    let mut senders = Vec::new();
    let measured = (0..options.pairs).map(|_| (1, options, &totals));
    let flood = Options {
        window: 0,
        rate: 0.0,
        ..options.clone()
    };
    let flooding = (options.flood > 0).then_some((options.flood, &flood, &flooded));
    for (count, shape, totals) in measured.chain(flooding) {
        let receiver = Peer::connect(options, &config)?;
        let pair = Arc::new(Pair::default());
        for _ in 0..count {
            let sender = Peer::connect(options, &config)?;
            senders.push((
                sender,
                receiver.key,
                pair.clone(),
                shape.clone(),
                totals.clone(),
            ));
        }
        let (totals, size) = (totals.clone(), options.size);
        threads.push(std::thread::spawn(move || {
            receive_until_stopped(receiver, size, &pair, &totals)
        }));
    }
    let prober = Peer::connect(options, &config)?;
    let tls = prober.tls.protocol_version();
    let suite = prober.tls.negotiated_cipher_suite();
    let tls = format!(
        "{:?} {:?}",
        tls.ok_or("no TLS")?,
        suite.ok_or("no TLS")?.suite()
    );
    wait_for_line()?;
    let start = Instant::now();
    for (sender, to, pair, options, totals) in senders {
        threads.push(std::thread::spawn(move || {
            send_until_stopped(sender, to, &options, &pair, &totals)
        }));
    }
    let probing = std::thread::spawn({
        let totals = totals.clone();
        move || probe(prober, &totals)
    });
    std::thread::sleep(Duration::from_secs_f64(options.seconds));
    let (sent, received) = (
        totals.sent.load(Ordering::Relaxed),
        totals.received.load(Ordering::Relaxed),
    );
    let wrong = totals.wrong.load(Ordering::Relaxed);
    let seconds = start.elapsed().as_secs_f64();
    let flood = flooded.received.load(Ordering::Relaxed) + flooded.wrong.load(Ordering::Relaxed);
    totals.stop.store(true, Ordering::Relaxed);
    flooded.stop.store(true, Ordering::Relaxed);
    let mut times = probing.join().map_err(|_| "the probe panicked")??;
    times.sort_unstable();
    let percentile = |part: f64| {
        times
            .get(((times.len() as f64 - 1.0) * part) as usize)
            .copied()
            .unwrap_or(0)
    };
    println!(
        "{{\"seconds\":{seconds:.3},\"sent\":{sent},\"received\":{received},\"wrong\":{wrong},\"tls\":\"{tls}\",\
         \"flood\":{flood},\
         \"p50_us\":{},\"p99_us\":{},\"probes\":{}}}",
        percentile(0.5),
        percentile(0.99),
        times.len()
    );
    // Senders may hang in a write to a relay that is being stopped: the process ends without them.
    std::io::stdout().flush()?;
    std::process::exit(0);
}

fn idle(options: &Options) -> Result<()> {
    let config = tls_config()?;
    let held: Vec<Peer> = (0..options.idle)
        .map(|_| Peer::connect(options, &config))
        .collect::<Result<_>>()?;
    wait_for_line()?;
    drop(held);
    Ok(())
}

fn main() -> Result<()> {
    let options = Options::read(std::env::args().skip(1))?;
    if options.idle > 0 {
        idle(&options)
    } else {
        load(&options)
    }
}
