//! The plan of a configuration's listeners: which running ones stay, which go, and which are new.
//!
//! Planning and binding touch nothing that runs, so both may fail without effect.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::load::code::Code;
use crate::config::load::files::Files;
use crate::config::{self, ConfigErrors, FileMode, HeaderCase, Loaded, SocketAddress, UnixSocket};
use crate::control::compile::problems::code_of;
use crate::control::diff;
use crate::control::diff::{Section, differing_keys};
use crate::control::listeners::{Bound, ListenerChange, Listeners, RunningListener};
use crate::downstream::bind::{bind, cannot_bind, overlaps};
use crate::downstream::listener::{Listener, UnregisteredSocket};
use crate::downstream::server_socket::ServerSocket;
use crate::downstream::unix_socket;
use crate::downstream::unix_socket::{SocketFile, UnixBindError};
use crate::path;
use crate::snapshot::listener::ListenerSettings;

/// The listeners of a configuration, checked and built except for the sockets of new ones.
pub(crate) struct Plan {
    /// The planned listeners in the order of the file.
    planned: Vec<Planned>,
    removed: Vec<RunningListener>,
    /// Listeners that an earlier reload removed and that still have an open socket.
    ending: Vec<Arc<Listener>>,
}

struct Planned {
    written: config::Listener,
    listener_settings: Arc<ListenerSettings>,
    /// `None` if it is new.
    listener: Option<Arc<Listener>>,
    change: ListenerChange,
    /// The keys that differ, if it is changed.
    keys: Vec<String>,
}

impl Listeners {
    /// Plans the listeners of a configuration. Running listeners stay if they keep their address, whatever else
    /// differs.
    pub(crate) fn plan(&self, loaded: &Loaded, workers: usize, files: &Files) -> Result<Plan, ConfigErrors> {
        let written = &loaded.config.listeners;
        let names: Vec<String> = written.iter().map(config::Listener::name).collect();
        let wanted: Vec<_> =
            written.iter().zip(&names).map(|(one, name)| (one.socket_address(), name.as_str())).collect();
        let running: Vec<_> = self
            .running
            .iter()
            .map(|one| (one.listener.written.clone(), &*one.listener_settings.name))
            .collect();
        let matched = matches(&wanted, &running);
        let case = case_of_requests(&loaded.config);
        let (mut planned, mut errors) = (Vec::new(), Vec::new());
        for (index, (written, position)) in written.iter().zip(&matched).enumerate() {
            let running = position.and_then(|position| self.running.get(position));
            match Planned::build(written, running, case, workers, files) {
                Ok(one) => planned.push(one),
                Err(error) => {
                    errors.push(loaded.source.error(
                        code_of(&error),
                        &path!["listeners", index, "tls"],
                        error.to_string(),
                    ));
                }
            }
        }
        ConfigErrors::check(errors)?;
        let is_removed = |position: &usize| !matched.contains(&Some(*position));
        let ending: Vec<_> = self.ending.iter().filter(|listener| listener.is_listening()).cloned().collect();
        Ok(Plan {
            planned,
            removed: (0..self.running.len())
                .filter(is_removed)
                .filter_map(|position| self.running.get(position).cloned())
                .collect(),
            ending,
        })
    }
}

/// Returns the position of the running listener that each wanted one continues: the one with the same address and name,
/// else one with the same address and another name. Several listeners can have the same address with port 0; their
/// order then decides.
fn matches(wanted: &[(SocketAddress, &str)], running: &[(SocketAddress, &str)]) -> Vec<Option<usize>> {
    let mut matched: Vec<Option<usize>> = vec![None; wanted.len()];
    for by_name in [true, false] {
        for (place, (address, name)) in wanted.iter().enumerate() {
            let is_it = |position: usize, of: &(SocketAddress, &str)| {
                of.0 == *address && (!by_name || of.1 == *name) && !matched.contains(&Some(position))
            };
            let found = running.iter().enumerate().position(|(position, of)| is_it(position, of));
            if let Some(slot) = matched.get_mut(place).filter(|slot| slot.is_none()) {
                *slot = found;
            }
        }
    }
    matched
}

/// Returns the letter case in which field names of requests are needed: as received, if any route's upstream preserves
/// them.
fn case_of_requests(config: &config::Config) -> HeaderCase {
    let preserves = |upstream: &config::Upstream| upstream.header_case == HeaderCase::Preserve;
    let upstreams = |route| config.upstreams_of(route).chain(config.mirror_upstream_of(route));
    let mut upstreams = config.routes.iter().flat_map(upstreams);
    if upstreams.any(preserves) { HeaderCase::Preserve } else { HeaderCase::Lower }
}

impl Planned {
    fn build(
        written: &config::Listener,
        running: Option<&RunningListener>,
        case: HeaderCase,
        workers: usize,
        files: &Files,
    ) -> Result<Self, crate::net::tls::TlsError> {
        let built = ListenerSettings::build(
            written,
            running.map(|running| &*running.listener_settings),
            case,
            workers,
            files,
        )?;
        let kept = running
            .filter(|running| running.written == *written && running.listener_settings.has_same_tls(&built))
            .map(|running| running.listener_settings.clone());
        let mut keys = running.map(|running| differing_keys(&running.written, written)).unwrap_or_default();
        if running.is_some() && kept.is_none() && keys.is_empty() {
            keys.push("tls (content of its files)".to_owned());
        }
        Ok(Self {
            written: written.clone(),
            keys,
            change: match (running, &kept) {
                (None, _) => ListenerChange::Added,
                (Some(_), None) => ListenerChange::Changed,
                (Some(_), Some(_)) => ListenerChange::Kept,
            },
            // The letter case is a setting of upstreams: it alone does not change the listener.
            listener_settings: kept
                .filter(|kept| kept.options.case == case)
                .unwrap_or_else(|| Arc::new(built)),
            listener: running.map(|running| running.listener.clone()),
        })
    }

    /// Returns the IP address and port of a listener that is running already.
    fn stays(&self) -> Option<(SocketAddr, Arc<ListenerSettings>)> {
        Some((self.listener.as_ref()?.address.inet()?, self.listener_settings.clone()))
    }
}

impl Plan {
    /// Returns the settings of all listeners, in the order of the file, for the snapshot that goes with this plan.
    pub(crate) fn listener_settings(&self) -> Vec<Arc<ListenerSettings>> {
        self.planned.iter().map(|planned| planned.listener_settings.clone()).collect()
    }

    /// Returns the changes of the listeners, by name: those of the configuration in the order of the file, then the
    /// removed ones.
    pub(crate) fn changes(&self) -> Section {
        let mut section = Section::default();
        for planned in &self.planned {
            let name = &*planned.listener_settings.name;
            match planned.change {
                ListenerChange::Added => section.added.push(shown(name, &planned.written.socket_address())),
                ListenerChange::Changed => {
                    let keys = planned.keys.clone();
                    section.changed.push(diff::Change { name: name.to_owned(), keys });
                }
                ListenerChange::Kept | ListenerChange::Removed => section.kept += 1,
            }
        }
        let removed = self.removed.iter();
        section.drained = removed.map(|gone| shown(gone.name(), &gone.written.socket_address())).collect();
        section
    }

    /// Returns the listeners as if they were bound, for a comparison with another configuration.
    pub(crate) fn unbound(self) -> Listeners {
        let planned =
            self.planned.into_iter().map(|Planned { written, listener_settings, listener, .. }| {
                let address = written.socket_address();
                let listener = listener.unwrap_or_else(|| {
                    Arc::new(Listener::new(&listener_settings, address.clone(), address, None))
                });
                RunningListener { written, listener_settings, listener }
            });
        Listeners { running: planned.collect(), ending: Vec::new() }
    }

    /// Returns the IP addresses and ports of listeners that stay.
    pub(crate) fn own(&self) -> impl Iterator<Item = SocketAddr> {
        self.planned.iter().filter_map(Planned::stays).map(|(address, _)| address)
    }

    /// Returns the IP addresses and ports that this process is releasing and may hold for a moment yet.
    pub(crate) fn going(&self) -> Vec<SocketAddr> {
        let going = self.removed.iter().map(|removed| &removed.listener).chain(&self.ending);
        going.filter_map(|listener| listener.address.inet()).collect()
    }

    /// Binds the new listeners, with a socket for each worker. Clients are refused until [`Bound::listen`]. `own` are
    /// the addresses that this process keeps, and `going` those that it is releasing: a new address may overlap these.
    ///
    /// # Errors
    /// Returns an error for each address that cannot be bound, at its place in the file. Nothing is bound then.
    pub(crate) fn bind(
        self,
        loaded: &Loaded,
        workers: usize,
        own: &[SocketAddr],
        going: &[SocketAddr],
    ) -> Result<Bound, ConfigErrors> {
        let mut staying: Vec<(SocketAddr, Arc<ListenerSettings>)> =
            self.planned.iter().filter_map(Planned::stays).collect();
        let mut bound = Bound::new(self.ending, workers);
        let mut errors = Vec::new();
        for (index, planned) in self.planned.into_iter().enumerate() {
            let Planned { written, listener_settings, listener, change, .. } = planned;
            if let Some(listener) = listener {
                bound.changes.push((change, RunningListener { written, listener_settings, listener }));
                continue;
            }
            let (address, place) = (written.socket_address(), path!["listeners", index, "address"]);
            let overlapping =
                |(other, _): &&(SocketAddr, _)| address.inet().is_some_and(|inet| overlaps(*other, inet));
            if let Some((_, other)) = staying.iter().find(overlapping) {
                let shown = loaded.source.shown(&place, &address.to_string());
                let message = format!("the address `{shown}` overlaps another listener's");
                let help = format!("`{}` has it or a part of it: choose another port", other.name);
                let help = loaded.source.as_written(&[&path!["listeners"]], &help);
                errors.push(loaded.source.error(Code::AddressConflict, &place, message).help(help));
                continue;
            }
            let opened = match &address {
                SocketAddress::Inet(address) => Opened::inet(*address, workers, going)
                    .map_err(|error| cannot_bind(loaded, &place, *address, &error, own)),
                SocketAddress::Unix(socket) => Opened::unix(socket, written.file_mode(), workers)
                    .map_err(|error| error.at(loaded, &place)),
            };
            match opened {
                Ok(Opened { bound_to, sockets, file }) => {
                    staying.extend(bound_to.inet().map(|inet| (inet, listener_settings.clone())));
                    let listener = Arc::new(Listener::new(&listener_settings, address, bound_to, file));
                    for (socket, of_worker) in sockets.into_iter().zip(&mut bound.listen) {
                        of_worker.push(UnregisteredSocket::new(socket, &listener, &listener_settings));
                    }
                    bound.changes.push((change, RunningListener { written, listener_settings, listener }));
                }
                Err(error) => errors.push(error),
            }
        }
        ConfigErrors::check(errors)?;
        bound.changes.extend(self.removed.into_iter().map(|removed| (ListenerChange::Removed, removed)));
        Ok(bound)
    }
}

/// The sockets of a new listener.
struct Opened {
    /// The address with its actual port.
    bound_to: SocketAddress,
    /// One for each worker.
    sockets: Vec<ServerSocket>,
    file: Option<SocketFile>,
}

impl Opened {
    fn inet(address: SocketAddr, workers: usize, going: &[SocketAddr]) -> io::Result<Self> {
        let (address, sockets) = bind(address, workers, going)?;
        let sockets = sockets.into_iter().map(ServerSocket::Tcp).collect();
        Ok(Self { bound_to: address.into(), sockets, file: None })
    }

    fn unix(address: &UnixSocket, mode: FileMode, workers: usize) -> Result<Self, UnixBindError> {
        let (sockets, file) = unix_socket::bind(address, mode, workers)?;
        let sockets = sockets.into_iter().map(ServerSocket::Unix).collect();
        Ok(Self { bound_to: SocketAddress::Unix(address.clone()), sockets, file })
    }
}

/// Returns the name, and the address unless it is the name.
fn shown(name: &str, address: &SocketAddress) -> String {
    if name == address.to_string() { name.to_owned() } else { format!("{name} on {address}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses `name@port` entries, separated by blanks.
    fn listeners(text: &str) -> Vec<(SocketAddress, &str)> {
        text.split_whitespace()
            .map(|listener| {
                let (name, port) = listener.split_once('@').unwrap();
                (SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap())).into(), name)
            })
            .collect()
    }

    #[test]
    fn a_listener_is_known_by_its_address_and_then_by_its_name() {
        for (running, wanted, expected) in [
            ("", "a@80", vec![None]),
            ("a@80", "a@80", vec![Some(0)]),
            ("a@80 b@81", "b@81 a@80", vec![Some(1), Some(0)]),
            // Another name, another address, and names that are swapped.
            ("a@80", "b@80", vec![Some(0)]),
            ("a@80", "a@81", vec![None]),
            ("a@80 b@81", "b@80 a@81", vec![Some(0), Some(1)]),
            ("a@80 b@81", "b@81", vec![Some(1)]),
            // With port 0, names decide first, then the order.
            ("a@0 b@0", "b@0 a@0", vec![Some(1), Some(0)]),
            ("a@0 b@0", "c@0 a@0", vec![Some(1), Some(0)]),
            ("a@0 b@0", "c@0 d@0 e@0", vec![Some(0), Some(1), None]),
            ("a@0 b@0 c@0", "x@0 c@0", vec![Some(0), Some(2)]),
        ] {
            assert_eq!(matches(&listeners(wanted), &listeners(running)), expected, "{running} to {wanted}");
        }
    }
}
