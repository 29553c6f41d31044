//! A DNS server that a test scripts, over UDP and TCP on one port.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

use crate::wait_until;

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;
const SRV: u16 = 33;

/// A DNS server. Names that it was not given do not exist.
pub struct DnsServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _tasks: JoinSet<()>,
}

/// A question that the server has received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsQuestion {
    /// The name, in lower case, without a dot at its end.
    pub name: String,
    /// `A`, `AAAA`, `SRV` or `?`.
    pub kind: &'static str,
    /// True if it came over TCP.
    pub tcp: bool,
}

/// A way not to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsFailure {
    /// NXDOMAIN.
    NoSuchName,
    /// SERVFAIL.
    ServerFailure,
    /// No response.
    Silence,
}

/// An SRV record.
#[derive(Clone, Debug)]
pub struct Service {
    /// The lowest comes first.
    pub priority: u16,
    /// The share among those of a priority.
    pub weight: u16,
    /// The target's port.
    pub port: u16,
    /// The target's name.
    pub target: &'static str,
}

#[derive(Default)]
struct State {
    /// The records of names, each with its type, time to live and data.
    records: HashMap<String, Vec<(u16, u32, Vec<u8>)>>,
    failures: HashMap<(String, u16), DnsFailure>,
    /// True if answers over UDP are cut off.
    truncates: bool,
    questions: Vec<DnsQuestion>,
}

impl DnsServer {
    /// Starts a server on 127.0.0.1.
    ///
    /// # Panics
    /// Panics if the system does not permit it.
    pub async fn start() -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            // Another socket may have the port for TCP.
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let (address, state) = (udp.local_addr().unwrap(), Arc::<Mutex<State>>::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_udp(udp, state.clone()));
        tasks.spawn(serve_tcp(tcp, state.clone()));
        Self { address, state, _tasks: tasks }
    }

    /// Returns the address to ask.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Sets the addresses of a name.
    ///
    /// # Panics
    /// Panics if one of them is not an IP address.
    pub fn addresses(&self, name: &str, ttl: u32, addresses: &[&str]) {
        let records = addresses.iter().map(|address| match address.parse().unwrap() {
            IpAddr::V4(ip) => (A, ttl, ip.octets().to_vec()),
            IpAddr::V6(ip) => (AAAA, ttl, ip.octets().to_vec()),
        });
        self.set(name, records.collect());
    }

    /// Makes a name an alias of another one.
    pub fn alias(&self, name: &str, ttl: u32, of: &str) {
        self.set(name, vec![(CNAME, ttl, encoded(of))]);
    }

    /// Sets the services of a name.
    pub fn services(&self, name: &str, ttl: u32, services: &[Service]) {
        let records = services.iter().map(|service| {
            let numbers = [service.priority, service.weight, service.port].map(u16::to_be_bytes);
            (SRV, ttl, [numbers.concat(), encoded(service.target)].concat())
        });
        self.set(name, records.collect());
    }

    fn set(&self, name: &str, records: Vec<(u16, u32, Vec<u8>)>) {
        let mut state = lock(&self.state);
        state.failures.retain(|(failing, _), _| failing != name);
        state.records.insert(name.to_owned(), records);
    }

    /// Fails questions for a name of these kinds, until it is set again.
    pub fn fail(&self, name: &str, kinds: &[&str], failure: DnsFailure) {
        for (number, kind) in [(A, "A"), (AAAA, "AAAA"), (SRV, "SRV")] {
            if kinds.contains(&kind) {
                lock(&self.state).failures.insert((name.to_owned(), number), failure);
            }
        }
    }

    /// Cuts answers over UDP off from now on.
    pub fn truncate(&self) {
        lock(&self.state).truncates = true;
    }

    /// Returns the questions so far.
    #[must_use]
    pub fn questions(&self) -> Vec<DnsQuestion> {
        lock(&self.state).questions.clone()
    }

    /// Returns the number of questions of a kind for a name.
    #[must_use]
    pub fn asked(&self, name: &str, kind: &str) -> usize {
        self.questions().iter().filter(|question| question.name == name && question.kind == kind).count()
    }

    /// Waits until a name has been asked for so often.
    pub async fn wait_for_asked(&self, name: &str, kind: &str, count: usize) {
        wait_until("questions", async || self.asked(name, kind) >= count).await;
    }
}

async fn serve_udp(socket: UdpSocket, state: Arc<Mutex<State>>) {
    let mut buffer = [0; 4096];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        if let Some(response) = respond(&buffer[..length], &state, false) {
            drop(socket.send_to(&response, from).await);
        }
    }
}

async fn serve_tcp(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { continue };
        let state = state.clone();
        connections.spawn(async move {
            while let Ok(length) = stream.read_u16().await {
                let mut query = vec![0; length.into()];
                if stream.read_exact(&mut query).await.is_err() {
                    return;
                }
                let Some(response) = respond(&query, &state, true) else { continue };
                let length = u16::try_from(response.len()).unwrap().to_be_bytes();
                if stream.write_all(&[&length, &*response].concat()).await.is_err() {
                    return;
                }
            }
        });
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the response to a query (RFC 1035 §4.1), or `None` for silence.
fn respond(query: &[u8], state: &Mutex<State>, tcp: bool) -> Option<Vec<u8>> {
    let mut at = 12;
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
    let wanted = u16::from_be_bytes(query.get(at..at + 2)?.try_into().ok()?);
    let (name, question) = (labels.join("."), query.get(12..at + 4)?);
    let kind = match wanted {
        A => "A",
        AAAA => "AAAA",
        SRV => "SRV",
        _ => "?",
    };
    let mut state = lock(state);
    state.questions.push(DnsQuestion { name: name.clone(), kind, tcp });
    let mut answers: Vec<u8> = Vec::new();
    let (mut count, mut code) = (0_u16, 0);
    let truncates = state.truncates && !tcp;
    match (state.failures.get(&(name.clone(), wanted)), state.records.get(&name)) {
        (Some(DnsFailure::Silence), _) => return None,
        (Some(DnsFailure::ServerFailure), _) => code = 2,
        (Some(DnsFailure::NoSuchName), _) | (None, None) => code = 3,
        (None, Some(_)) if truncates => {}
        (None, Some(records)) => {
            let alias = records.iter().find(|(kind, ..)| *kind == CNAME);
            let owner = [0xc0, 12];
            let mut push = |owner: &[u8], (kind, ttl, data): &(u16, u32, Vec<u8>)| {
                let length = u16::try_from(data.len()).unwrap().to_be_bytes();
                let [kind, class] = [*kind, 1].map(u16::to_be_bytes);
                answers.extend([owner, &kind, &class, &ttl.to_be_bytes(), &length, data].concat());
                count += 1;
            };
            records
                .iter()
                .filter(|(kind, ..)| [wanted, CNAME].contains(kind))
                .for_each(|record| push(&owner, record));
            if let Some((_, _, target)) = alias {
                let named = state.records.iter().find(|(name, _)| encoded(name) == *target);
                let of_kind =
                    named.iter().flat_map(|(_, records)| records.iter().filter(|(kind, ..)| *kind == wanted));
                of_kind.for_each(|record| push(target, record));
            }
        }
    }
    let flags = if truncates { [0x86, 0x80] } else { [0x84, 0x80 | code] };
    let counts = [1, count, 0, 0].map(u16::to_be_bytes).concat();
    Some([query.get(..2)?, &flags, &counts, question, &answers].concat())
}

/// Returns a name as messages have it.
fn encoded(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}
