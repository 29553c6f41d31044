//! Handshakes in memory between the two sides.

mod files;

use std::{fs, slice};

use rustls::pki_types::ServerName;
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, ServerConfig, ServerConnection,
};
use support::{Certificates, Identity};

use super::*;
use crate::config::load::files::Files;
use crate::config::{CertificateFiles, ClientAuth, TlsVersion};

fn files(identity: &Identity) -> CertificateFiles {
    CertificateFiles { cert: identity.cert.clone(), key: identity.key.clone() }
}

fn listener(identities: &[&Identity]) -> ServerTls {
    ServerTls {
        certificates: identities.iter().map(|identity| files(identity)).collect(),
        min_version: TlsVersion::Tls12,
        client_auth: None,
        alpn: vec![ALPN_H2, ALPN_H1],
    }
}

fn upstream(certificates: &Certificates) -> ClientTls {
    ClientTls { ca: Some(certificates.ca()), ..ClientTls::default() }
}

fn server_of(tls: &ServerTls) -> Result<Arc<ServerConfig>, TlsError> {
    server_config(tls, &Files::new(), None)
}

fn client_of(tls: &ClientTls) -> Result<Arc<ClientConfig>, TlsError> {
    client_config(tls, &Files::new())
}

/// Returns a client of one version, with a memory of sessions.
fn client_with(
    certificates: &Certificates,
    version: &'static rustls::SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[version]).unwrap();
    let roots = pem::authorities(&certificates.ca(), &Files::new()).unwrap();
    with_own_sessions(&builder.with_root_certificates(roots).with_no_client_auth(), &[ALPN_H1])
}

/// The two ends of a connection whose handshake has not begun.
struct Pair {
    client: ClientConnection,
    server: ServerConnection,
}

impl Pair {
    fn new(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>, name: &str) -> Self {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        Self {
            client: ClientConnection::new(Arc::clone(client), name).unwrap(),
            server: ServerConnection::new(Arc::clone(server)).unwrap(),
        }
    }

    /// Moves records until none are left: the handshake and the tickets after it.
    fn handshake(&mut self) -> Result<(), rustls::Error> {
        while self.client.wants_write() || self.server.wants_write() {
            let mut records = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut records).unwrap();
            }
            let mut unread = &records[..];
            while !unread.is_empty() {
                self.server.read_tls(&mut unread).unwrap();
                self.server.process_new_packets()?;
            }
            let mut records = Vec::new();
            while self.server.wants_write() {
                self.server.write_tls(&mut records).unwrap();
            }
            let mut unread = &records[..];
            while !unread.is_empty() {
                self.client.read_tls(&mut unread).unwrap();
                self.client.process_new_packets()?;
            }
        }
        Ok(())
    }

    fn resumed(&self) -> bool {
        self.client.handshake_kind() == Some(HandshakeKind::Resumed)
    }
}

/// Performs a handshake that must succeed.
fn connect(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>, name: &str) -> Pair {
    let mut pair = Pair::new(client, server, name);
    pair.handshake().unwrap();
    pair
}

/// Returns the number of connections that resume, out of `count` that all begin before the first is done.
fn resumed_at_once(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>, count: usize) -> usize {
    let mut pairs: Vec<_> = (0..count).map(|_| Pair::new(client, server, "localhost")).collect();
    pairs.iter_mut().for_each(|pair| pair.handshake().unwrap());
    pairs.iter().filter(|pair| pair.resumed()).count()
}

#[test]
fn connections_made_at_once_all_resume() {
    let certificates = Certificates::new();
    let server = server_of(&listener(&[&certificates.server(&["localhost"])])).unwrap();
    let client = client_of(&upstream(&certificates)).unwrap();
    assert_eq!(resumed_at_once(&client, &server, 64), 0, "nothing to resume yet");
    for _ in 0..3 {
        assert_eq!(resumed_at_once(&client, &server, 64), 64);
    }
}

#[test]
fn tls_1_2_resumes_as_well() {
    let certificates = Certificates::new();
    let server = server_of(&listener(&[&certificates.server(&["localhost"])])).unwrap();
    let client = client_with(&certificates, &rustls::version::TLS12);
    assert!(!connect(&client, &server, "localhost").resumed());
    assert_eq!(resumed_at_once(&client, &server, 64), 64);
}

#[test]
fn a_server_that_lost_its_ticket_keys_costs_one_full_handshake_per_connection() {
    let certificates = Certificates::new();
    let tls = listener(&[&certificates.server(&["localhost"])]);
    let client = client_of(&upstream(&certificates)).unwrap();
    let before = server_of(&tls).unwrap();
    resumed_at_once(&client, &before, 8);
    let restarted = server_of(&tls).unwrap();
    assert!(!connect(&client, &restarted, "localhost").resumed());
    assert!(connect(&client, &restarted, "localhost").resumed(), "the newest ticket goes first");
}

#[test]
fn sessions_outlive_the_renewal_of_a_certificate() {
    let certificates = Certificates::new();
    let tls = listener(&[&certificates.server(&["localhost"])]);
    let only_1_2 = client_with(&certificates, &rustls::version::TLS12);
    let only_1_3 = client_with(&certificates, &rustls::version::TLS13);
    let before = server_of(&tls).unwrap();
    for client in [&only_1_2, &only_1_3] {
        assert!(!connect(client, &before, "localhost").resumed());
    }

    let renewed = certificates.server(&["localhost"]);
    let after = server_config(&listener(&[&renewed]), &Files::new(), Some(&before)).unwrap();
    for client in [&only_1_2, &only_1_3] {
        assert!(connect(client, &after, "localhost").resumed());
    }
    let pair = connect(&client_of(&upstream(&certificates)).unwrap(), &after, "localhost");
    assert_eq!(pair.client.peer_certificates().unwrap()[0].as_ref(), renewed.certificate(), "the new one");
}

#[test]
fn own_sessions_are_not_those_of_the_other_endpoint() {
    let certificates = Certificates::new();
    let server = server_of(&listener(&[&certificates.server(&["localhost"])])).unwrap();
    let one = client_of(&upstream(&certificates)).unwrap();
    let other = with_own_sessions(&one, &[ALPN_H1]);
    connect(&one, &server, "localhost");
    assert!(!connect(&other, &server, "localhost").resumed());
    assert!(connect(&other, &server, "localhost").resumed());
    assert!(connect(&one, &server, "localhost").resumed());
}

#[test]
fn the_name_asked_for_chooses_the_certificate() {
    let certificates = Certificates::new();
    let default = certificates.server(&["default.test"]);
    let wildcard = certificates.server(&["*.shop.test"]);
    let exact = certificates.server(&["API.shop.test", "shop.test"]);
    let server = server_of(&listener(&[&default, &wildcard, &exact])).unwrap();
    let client = client_of(&ClientTls { verify: false, ..ClientTls::default() }).unwrap();
    for (name, chosen) in [
        ("default.test", &default),
        ("api.shop.test", &exact),
        ("Api.Shop.Test", &exact),
        ("shop.test", &exact),
        ("www.shop.test", &wildcard),
        ("a.www.shop.test", &default),
        ("other.test", &default),
        ("127.0.0.1", &default),
    ] {
        let pair = connect(&client, &server, name);
        let shown = pair.client.peer_certificates().unwrap();
        assert_eq!(&*shown[0], chosen.certificate(), "{name}");
    }
}

#[test]
fn client_certificates_are_required_or_optional_and_always_checked() {
    let certificates = Certificates::new();
    let shown = certificates.client("tester");
    let others = Certificates::new();
    let stranger = others.client("stranger");
    let server = |required| {
        let mut tls = listener(&[&certificates.server(&["localhost"])]);
        tls.client_auth = Some(ClientAuth { ca: certificates.ca(), crl: Vec::new(), required });
        server_of(&tls).unwrap()
    };
    let accepted = |server: &Arc<ServerConfig>, identity: Option<&Identity>| {
        let tls = ClientTls { identity: identity.map(files), ..upstream(&certificates) };
        Pair::new(&client_of(&tls).unwrap(), server, "localhost").handshake().is_ok()
    };
    let (required, optional) = (server(true), server(false));
    assert!(accepted(&required, Some(&shown)));
    assert!(!accepted(&required, None));
    assert!(!accepted(&required, Some(&stranger)));
    assert!(accepted(&optional, Some(&shown)));
    assert!(accepted(&optional, None));
    assert!(!accepted(&optional, Some(&stranger)));
}

#[test]
fn revocation_lists_decide_about_every_certificate_of_a_clients_chain() {
    let (root, others) = (Certificates::new(), Certificates::new());
    let intermediate = root.intermediate();
    let server = root.server(&["localhost"]);
    let [good, bad] = ["good", "bad"].map(|name| root.client(name));
    let [deep, deep_bad] = ["deep", "deep bad"].map(|name| intermediate.client(name));
    let accepted = |lists: &[String], required: bool, identity: Option<&Identity>| {
        let write = |(number, list): (usize, &String)| {
            let path = root.folder().join(format!("{number}.crl"));
            fs::write(&path, list).unwrap();
            path
        };
        let crl = lists.iter().enumerate().map(write).collect();
        let mut tls = listener(&[&server]);
        tls.client_auth = Some(ClientAuth { ca: root.ca(), crl, required });
        let shown = ClientTls { identity: identity.map(files), ..upstream(&root) };
        Pair::new(&client_of(&shown).unwrap(), &server_of(&tls).unwrap(), "localhost").handshake().is_ok()
    };
    let of_root = root.revocation_list(&[&bad], 2099);
    let of_intermediate = intermediate.revocation_list(&[&deep_bad], 2099);
    let both = [of_root.clone(), of_intermediate.clone()];
    for (name, lists, identity, is_accepted) in [
        ("no list", &[][..], &bad, true),
        ("not revoked", slice::from_ref(&of_root), &good, true),
        ("revoked", slice::from_ref(&of_root), &bad, false),
        ("both lists in one file", &[both.concat()], &deep, true),
        ("a list for each issuer", &both, &deep, true),
        ("revoked by an intermediate authority", &both, &deep_bad, false),
        ("no list of the intermediate authority", slice::from_ref(&of_root), &deep, false),
        (
            "no list of the root, which the intermediate one needs",
            slice::from_ref(&of_intermediate),
            &deep,
            false,
        ),
        ("the list of another authority's key", &[others.revocation_list(&[], 2099)], &good, false),
        ("an expired list", &[root.revocation_list(&[&bad], 2021)], &good, false),
    ] {
        for required in [true, false] {
            assert_eq!(
                accepted(lists, required, Some(identity)),
                is_accepted,
                "{name}, required: {required}"
            );
        }
    }
    assert!(accepted(&both, false, None), "a client without a certificate has none that is revoked");
}

#[test]
fn a_session_of_an_open_listener_does_not_open_one_with_client_certificates() {
    let certificates = Certificates::new();
    let mut tls = listener(&[&certificates.server(&["localhost"])]);
    let open = server_of(&tls).unwrap();
    tls.client_auth = Some(ClientAuth { ca: certificates.ca(), crl: Vec::new(), required: true });
    let closed = server_of(&tls).unwrap();
    let client = client_of(&upstream(&certificates)).unwrap();
    connect(&client, &open, "localhost");
    assert!(Pair::new(&client, &closed, "localhost").handshake().is_err());
}

#[test]
fn an_upstream_is_verified_unless_verify_is_off() {
    let certificates = Certificates::new();
    let server = |identity: &Identity| server_of(&listener(&[identity])).unwrap();
    let valid = server(&certificates.server(&["localhost", "127.0.0.1"]));
    let expired = server(&certificates.expired(&["localhost"]));
    let trusting = client_of(&upstream(&certificates)).unwrap();
    let system = client_of(&ClientTls::default()).unwrap();
    let careless = client_of(&ClientTls { verify: false, ..ClientTls::default() }).unwrap();
    for (client, server, name, accepted) in [
        (&trusting, &valid, "localhost", true),
        (&trusting, &valid, "127.0.0.1", true),
        (&trusting, &valid, "other.test", false),
        (&trusting, &expired, "localhost", false),
        (&system, &valid, "localhost", false),
        (&careless, &valid, "other.test", true),
        (&careless, &expired, "localhost", true),
    ] {
        assert_eq!(Pair::new(client, server, name).handshake().is_ok(), accepted, "{name}");
    }
}

#[test]
fn versions_and_protocols_are_agreed_on() {
    let certificates = Certificates::new();
    let mut tls = listener(&[&certificates.server(&["localhost"])]);
    let client = with_own_sessions(&client_of(&upstream(&certificates)).unwrap(), &[ALPN_H1]);
    let pair = connect(&client, &server_of(&tls).unwrap(), "localhost");
    assert_eq!(pair.server.alpn_protocol(), Some(ALPN_H1));
    assert_eq!(pair.server.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    let both = certificates.client_config(&["http/1.1", "h2"]);
    let pair = connect(&both, &server_of(&tls).unwrap(), "localhost");
    assert_eq!(pair.server.alpn_protocol(), Some(ALPN_H2), "the listener's order counts");

    tls.min_version = TlsVersion::Tls13;
    let only_1_2 =
        ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&rustls::version::TLS12]);
    let roots = pem::authorities(&certificates.ca(), &Files::new()).unwrap();
    let old = Arc::new(only_1_2.unwrap().with_root_certificates(roots).with_no_client_auth());
    assert!(Pair::new(&old, &server_of(&tls).unwrap(), "localhost").handshake().is_err());
    tls.min_version = TlsVersion::Tls12;
    assert!(Pair::new(&old, &server_of(&tls).unwrap(), "localhost").handshake().is_ok());
}

#[test]
fn an_expired_certificate_is_served() {
    let certificates = Certificates::new();
    assert!(server_of(&listener(&[&certificates.expired(&["a.test"])])).is_ok());
}

#[test]
fn a_server_name_is_the_sni_or_the_host_without_its_brackets() {
    let name = |sni, host| server_name(sni, host).map(|name| name.to_str().into_owned());
    assert_eq!(name(None, "api.test").unwrap(), "api.test");
    assert_eq!(name(None, "api.test.").unwrap(), "api.test");
    assert_eq!(name(Some("inner.test"), "10.0.0.1").unwrap(), "inner.test");
    assert!(matches!(server_name(None, "10.0.0.1").unwrap(), ServerName::IpAddress(_)));
    assert!(matches!(server_name(None, "[::1]").unwrap(), ServerName::IpAddress(_)));
    assert!(name(None, "not a name").unwrap_err().to_string().contains("`not a name`"));
}
