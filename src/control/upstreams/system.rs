//! The system's way to resolve names: `/etc/resolv.conf`, `/etc/hosts` and the sources in `/etc/nsswitch.conf`.

use std::net::IpAddr;

use hickory_resolver::Hosts;
use hickory_resolver::config::{NameServerConfig, ResolverOpts};
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;

/// The contents of the system's files, empty for those that cannot be read. Equal contents mean the same.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SystemFiles {
    resolv_conf: Vec<u8>,
    hosts: Vec<u8>,
    nsswitch: Vec<u8>,
}

impl SystemFiles {
    pub(super) fn read() -> Self {
        let read = |path| std::fs::read(path).unwrap_or_default();
        Self {
            resolv_conf: read("/etc/resolv.conf"),
            hosts: read("/etc/hosts"),
            nsswitch: read("/etc/nsswitch.conf"),
        }
    }

    pub(super) fn parse(&self) -> System {
        let (servers, search, options) = parse_servers(&self.resolv_conf);
        let mut hosts = Hosts::default();
        // A line that is no text ends the reading; those before it count.
        drop(hosts.read_hosts_conf(&*self.hosts));
        let has_other_sources = has_other_sources(&String::from_utf8_lossy(&self.nsswitch));
        System { servers, search, options, hosts, has_other_sources }
    }
}

/// The system's resolution of names.
#[derive(Debug)]
pub(super) struct System {
    pub(super) servers: Vec<NameServerConfig>,
    pub(super) search: Vec<Name>,
    pub(super) options: ResolverOpts,
    hosts: Hosts,
    /// True if the system asks more than its hosts file and DNS.
    pub(super) has_other_sources: bool,
}

impl System {
    /// Returns the addresses that the hosts file has for a name, of both families.
    pub(super) fn hosts(&self, name: &Name) -> Vec<IpAddr> {
        let of = |family| self.hosts.lookup_static_host(&Query::query(name.to_lowercase(), family));
        let found = [RecordType::A, RecordType::AAAA].into_iter().filter_map(of);
        let found = found.flat_map(|lookup| lookup.answers().to_vec());
        found.filter_map(|record| record.data.ip_addr()).collect()
    }
}

/// Returns the servers, the search domains and the options of a `resolv.conf`. Without a server, the one on this machine is asked
/// (resolv.conf(5)).
fn parse_servers(text: &[u8]) -> (Vec<NameServerConfig>, Vec<Name>, ResolverOpts) {
    let with_local = || parse_resolv_conf([text, b"\nnameserver 127.0.0.1\n"].concat());
    let Ok((config, options)) = parse_resolv_conf(text).or_else(|_| with_local()) else {
        let local = NameServerConfig::udp_and_tcp(std::net::Ipv4Addr::LOCALHOST.into());
        return (vec![local], Vec::new(), ResolverOpts::default());
    };
    let (domain, mut search, servers) = config.into_parts();
    if search.is_empty() {
        // The domain of this machine's own name, as the C library does it.
        search.extend(domain.filter(|domain| !domain.is_root()));
    }
    (servers, search, options)
}

/// Returns true if the `hosts` line of an `nsswitch.conf` has sources beside files and DNS. Those that only know this machine's own
/// name do not count.
fn has_other_sources(text: &str) -> bool {
    let Some(sources) = text.lines().find_map(|line| line.trim_start().strip_prefix("hosts:")) else {
        return false;
    };
    let sources = sources.split('#').next().unwrap_or_default();
    let mut is_action = false;
    sources.split_whitespace().any(|word| {
        let was_action = is_action || word.starts_with('[');
        is_action = was_action && !word.ends_with(']');
        !was_action && !matches!(word, "files" | "dns" | "myhostname")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    #[test]
    fn resolv_conf_has_servers_search_domains_and_ndots() {
        let text = "nameserver 10.0.0.2\nnameserver fd00::2\nsearch a.internal b.internal\noptions ndots:3\n";
        let (servers, search, options) = parse_servers(text.as_bytes());
        assert_eq!(
            servers.iter().map(|server| server.ip.to_string()).collect::<Vec<_>>(),
            ["10.0.0.2", "fd00::2"]
        );
        assert_eq!(search, [name("a.internal"), name("b.internal")]);
        assert_eq!(options.ndots, 3);
    }

    #[test]
    fn without_a_server_the_one_on_this_machine_is_asked() {
        for text in ["", "search a.internal\n", "nonsense\n"] {
            let (servers, _, _) = parse_servers(text.as_bytes());
            assert_eq!(
                servers.iter().map(|server| server.ip.to_string()).collect::<Vec<_>>(),
                ["127.0.0.1"],
                "{text}"
            );
        }
    }

    #[test]
    fn hosts_file_has_both_families_and_any_letter_case() {
        let files = SystemFiles {
            hosts: b"10.1.1.1 Api.internal api # ours\nfd00::1 api\n\n# 10.1.1.9 api\n".to_vec(),
            ..SystemFiles::default()
        };
        let system = files.parse();
        let found = |text| system.hosts(&name(text)).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(found("api."), ["10.1.1.1", "fd00::1"]);
        assert_eq!(found("API.internal"), ["10.1.1.1"]);
        assert!(found("other").is_empty());
    }

    #[test]
    fn sources_beside_files_and_dns_are_noticed() {
        for (text, has) in [
            ("", false),
            ("passwd: files systemd\nhosts: files dns\n", false),
            ("hosts:\tfiles myhostname [!UNAVAIL=return] dns # mdns\n", false),
            ("hosts: files mdns4_minimal [NOTFOUND=return] dns\n", true),
            ("hosts: files resolve [ !UNAVAIL=return ] dns\n", true),
            ("hosts: files ldap\n", true),
        ] {
            assert_eq!(has_other_sources(text), has, "{text}");
        }
    }
}
