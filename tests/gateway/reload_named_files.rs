//! The files that gateway.yaml names count as part of it: certificates, keys and authorities.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use support::{Certificates, Client, Gateway, GatewayBuilder, Identity, Origin, wait_until};

use crate::log_lines::problems;
use crate::pooled::{OK, closed, number};
use crate::reloading::{
    BASE, answering, check_errors, get, in_sync, is_generation, post, refused, refused_times, replace,
    report, serves, start,
};

const NAME: &str = "a.test";

/// Puts a certificate and its key where the gateway looks for them, each by a rename.
fn install(folder: &Path, identity: &Identity) {
    replace(&folder.join("server.pem"), fs::read(&identity.cert).unwrap());
    replace(&folder.join("server.key"), fs::read(&identity.key).unwrap());
}

/// A listener with `server.pem` and `server.key` beside gateway.yaml, and further keys of `tls`.
fn with_tls(keys: &str) -> String {
    answering("hello").replace(
        "address: 127.0.0.1:0 }]",
        &format!("address: 127.0.0.1:0, tls: {{ certificates: [{{ cert: server.pem, key: server.key }}] {keys} }} }}]"),
    )
}

fn builder(identity: &Identity, keys: &str) -> GatewayBuilder {
    let [cert, key] = [&identity.cert, &identity.key].map(|path| fs::read(path).unwrap());
    crate::gateway(with_tls(keys)).file("server.pem", cert).file("server.key", key)
}

/// The certificate that a new client is shown.
async fn shown(gateway: &Gateway, certificates: &Certificates) -> Vec<u8> {
    // A configuration of its own has no sessions.
    Client::connect_tls(gateway.addr("web"), &certificates.client_config(&[]), NAME)
        .await
        .certificate()
        .to_vec()
}

async fn shows(gateway: &Gateway, certificates: &Certificates, identity: &Identity) {
    let is_shown = async || shown(gateway, certificates).await == identity.certificate();
    wait_until("the new certificate to be shown", is_shown).await;
}

#[tokio::test]
async fn a_renewed_certificate_serves_next_and_connections_and_sessions_continue() {
    let certificates = Certificates::new();
    let [old, new] = [(); 2].map(|()| certificates.server(&[NAME]));
    let gateway = builder(&old, "").start().await;
    let config = certificates.client_config(&[]);
    let mut client = Client::connect_tls(gateway.addr("web"), &config, NAME).await;
    // The tickets come with the answer.
    assert_eq!(client.get("/").await.text(), "hello");
    assert!(!client.is_resumed() && client.certificate() == old.certificate());

    install(gateway.folder(), &new);
    shows(&gateway, &certificates, &new).await;
    assert_eq!(client.get("/").await.text(), "hello", "an open connection goes on");
    let mut resumed = Client::connect_tls(gateway.addr("web"), &config, NAME).await;
    assert!(resumed.is_resumed(), "a session from before the renewal");
    assert_eq!(resumed.get("/").await.text(), "hello");
    let log = gateway.wait_for_log("configuration reloaded").await;
    assert!(log.contains("listeners ~1 (web: tls (content of its files)) =0"), "{log}");
    is_generation(&gateway, 2).await;
    assert!(in_sync(&gateway).await);
}

#[tokio::test]
async fn a_certificate_waits_for_its_key() {
    let certificates = Certificates::new();
    let [old, new] = [(); 2].map(|()| certificates.server(&[NAME]));
    let gateway = builder(&old, "").start().await;
    let mut client = Client::connect_tls(gateway.addr("web"), &certificates.client_config(&[]), NAME).await;
    replace(&gateway.folder().join("server.pem"), fs::read(&new.cert).unwrap());
    refused_times(&gateway, 1).await;
    assert_eq!(report(&gateway).await["error_text"], check_errors(&gateway).await);
    assert!(check_errors(&gateway).await.contains("does not belong to"));
    assert_eq!(shown(&gateway, &certificates).await, old.certificate());

    replace(&gateway.folder().join("server.key"), fs::read(&new.key).unwrap());
    shows(&gateway, &certificates, &new).await;
    assert_eq!(client.get("/").await.text(), "hello");
    is_generation(&gateway, 2).await;
    assert_eq!((refused(&gateway).await, in_sync(&gateway).await), (1, true));
}

#[tokio::test]
async fn a_certificate_that_is_taken_away_is_missed_and_back_it_is_the_same_generation() {
    let certificates = Certificates::new();
    let identity = certificates.server(&[NAME]);
    let gateway = builder(&identity, "").start().await;
    let aside = gateway.folder().join("aside");
    fs::rename(gateway.folder().join("server.key"), &aside).unwrap();
    refused_times(&gateway, 1).await;
    assert_eq!(shown(&gateway, &certificates).await, identity.certificate());
    fs::rename(&aside, gateway.folder().join("server.key")).unwrap();
    gateway.wait_for_log("matches the running one again").await;
    assert_eq!((refused(&gateway).await, gateway.generation().await, in_sync(&gateway).await), (1, 1, true));
}

#[tokio::test]
async fn other_client_authorities_end_the_sessions_of_those_that_were_let_in_before() {
    let (certificates, others) = (Certificates::new(), Certificates::new());
    let gateway = builder(&certificates.server(&[NAME]), ", client_auth: { ca: clients.pem }");
    let gateway = gateway.file("clients.pem", fs::read(certificates.ca()).unwrap()).start().await;
    let known = certificates.client_config_with(&certificates.client("known"));
    let mut open = Client::connect_tls(gateway.addr("web"), &known, NAME).await;
    assert_eq!(open.get("/").await.text(), "hello");
    let mut again = Client::connect_tls(gateway.addr("web"), &known, NAME).await;
    assert_eq!((again.is_resumed(), again.get("/").await.text()), (true, "hello".to_owned()));

    replace(&gateway.folder().join("clients.pem"), fs::read(others.ca()).unwrap());
    wait_until("the other authority", async || gateway.generation().await == 2).await;
    let mut refused = Client::connect_tls(gateway.addr("web"), &known, NAME).await;
    assert!(!refused.is_resumed());
    refused.try_send_raw("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await.ok();
    assert!(refused.try_read_response().await.is_err(), "it was let in");
    assert_eq!(open.get("/").await.text(), "hello", "who was let in stays");
}

#[tokio::test]
async fn a_revoked_client_is_refused_from_the_next_connection_on_and_its_session_with_it() {
    let certificates = Certificates::new();
    let [known, revoked] = ["known", "revoked"].map(|name| certificates.client(name));
    let keys = ", client_auth: { ca: clients.pem, crl: [clients.crl] }";
    let gateway = builder(&certificates.server(&[NAME]), keys)
        .file("clients.pem", fs::read(certificates.ca()).unwrap())
        .file("clients.crl", certificates.revocation_list(&[], 2099))
        .start()
        .await;
    let [known, revoked] = [known, revoked].map(|identity| {
        let config = certificates.client_config_with(&identity);
        (identity, config)
    });
    let mut open = Client::connect_tls(gateway.addr("web"), &revoked.1, NAME).await;
    assert_eq!(open.get("/").await.text(), "hello");
    let mut again = Client::connect_tls(gateway.addr("web"), &revoked.1, NAME).await;
    assert_eq!((again.is_resumed(), again.get("/").await.text()), (true, "hello".to_owned()));

    let crl = gateway.folder().join("clients.crl");
    replace(&crl, certificates.revocation_list(&[&revoked.0], 2099));
    wait_until("the new list", async || gateway.generation().await == 2).await;
    let log = gateway.wait_for_log("configuration reloaded").await;
    assert!(log.contains("listeners ~1 (web: tls (content of its files))"), "{log}");
    let mut refused = Client::connect_tls(gateway.addr("web"), &revoked.1, NAME).await;
    assert!(!refused.is_resumed());
    refused.try_send_raw("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await.ok();
    assert!(refused.try_read_response().await.is_err(), "it was let in");
    assert_eq!(open.get("/").await.text(), "hello", "a connection that is open stays");
    let mut client = Client::connect_tls(gateway.addr("web"), &known.1, NAME).await;
    assert_eq!(client.get("/").await.text(), "hello");

    // An expired list refuses all that it covers, and says so.
    replace(&crl, certificates.revocation_list(&[], 2021));
    wait_until("the expired list", async || gateway.generation().await == 3).await;
    let log = gateway.wait_for_log("the revocation list in").await;
    assert!(log.contains("has expired on Fri, 01 Jan 2021"), "{log}");
    let mut refused = Client::connect_tls(gateway.addr("web"), &known.1, NAME).await;
    refused.try_send_raw("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await.ok();
    assert!(refused.try_read_response().await.is_err(), "it was let in");
    let log = gateway.wait_for_log("a client is refused").await;
    assert!(log.contains("the list of its issuer has expired on Fri, 01 Jan 2021"), "{log}");

    // A file that is no list changes nothing.
    replace(&crl, fs::read(certificates.ca()).unwrap());
    refused_times(&gateway, 1).await;
    assert!(check_errors(&gateway).await.contains("a file under `crl` holds revocation lists alone"));
}

#[tokio::test]
async fn a_mounted_secret_is_one_reload_with_certificate_and_key() {
    let certificates = Certificates::new();
    let gateway = start(answering("first")).await;
    let folder = gateway.folder();
    let mount = |number: &str, identity: &Identity| {
        fs::create_dir_all(folder.join(number)).unwrap();
        fs::copy(&identity.cert, folder.join(number).join("server.pem")).unwrap();
        fs::copy(&identity.key, folder.join(number).join("server.key")).unwrap();
        symlink(number, folder.join("..new")).unwrap();
        fs::rename(folder.join("..new"), folder.join("..data")).unwrap();
    };
    let identities = [(); 3].map(|()| certificates.server(&[NAME]));
    mount("..1", &identities[0]);
    for name in ["server.pem", "server.key"] {
        symlink(Path::new("..data").join(name), folder.join(name)).unwrap();
    }
    gateway.reload(&with_tls("")).await;
    for (generation, identity) in (3..).zip(&identities[1..]) {
        mount(&format!("..{generation}"), identity);
        shows(&gateway, &certificates, identity).await;
        is_generation(&gateway, generation).await;
        assert_eq!(refused(&gateway).await, 0);
    }
    assert_eq!(problems(&gateway), Vec::<String>::new());
}

/// A route to the origin whose authority is `ca.pem`, and whose client shows what `client.pem` has.
fn to_tls(origin: &Origin) -> String {
    format!(
        "{BASE}routes: [{{ name: up, match: {{ prefix: / }}, upstream: {{ url: '{}', tls: {{ ca: ca.pem, client: {{ cert: client.pem, key: client.key }} }} }} }}]\n",
        origin.url()
    )
}

#[tokio::test]
async fn other_upstream_authorities_or_client_certificates_are_a_new_pool() {
    let certificates = Certificates::new();
    let server = certificates.server(&["localhost"]);
    let origin = Origin::builder().tls(certificates.server_config_with_client_auth(&server)).answer(OK);
    let [first, second] = ["first", "second"].map(|name| certificates.client(name));
    let read = |path: &Path| fs::read(path).unwrap();
    let gateway = crate::gateway(to_tls(&origin))
        .file("ca.pem", read(&certificates.ca()))
        .file("client.pem", read(&first.cert))
        .file("client.key", read(&first.key))
        .start()
        .await;
    let mut client = gateway.client("web").await;
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(number(&gateway.pool("up").await, "opened"), 1);

    // Another certificate for the same name: a comment would be a new content as well.
    let put = |name: &str, content: &[u8]| replace(&gateway.folder().join(name), content);
    put("client.pem", &read(&second.cert));
    put("client.key", &read(&second.key));
    wait_until("the pair to be live", async || in_sync(&gateway).await && gateway.generation().await >= 2)
        .await;
    origin.wait_for_open(0).await;
    assert_eq!(client.get("/").await.status, 200);
    let pool = gateway.wait_for_pool("up", "one pool only", |pool| pool["idle"] == 1).await;
    assert_eq!((number(&pool, "opened"), closed(&pool, "retired")), (1, 0), "a new pool: {pool:#}");
    assert_eq!(origin.accepted(), 2);

    let generation = gateway.generation().await;
    let other = Certificates::new();
    put("ca.pem", &[read(&other.ca()), read(&certificates.ca())].concat());
    wait_until("the authorities to be live", async || gateway.generation().await == generation + 1).await;
    origin.wait_for_open(0).await;
    assert_eq!(client.get("/").await.status, 200);
    put("ca.pem", &read(&other.ca()));
    wait_until("the other one to be live", async || gateway.generation().await == generation + 2).await;
    let answer = client.get("/").await;
    assert_eq!((answer.status, answer.header("x-gateway-error")), (502, Some("upstream.tls")));
}

#[tokio::test]
async fn a_file_that_a_refused_configuration_names_makes_it_live_when_it_appears() {
    let certificates = Certificates::new();
    let identity = certificates.server(&[NAME]);
    let gateway = start(answering("first")).await;
    let second = answering("second").replace(
        "listeners: [",
        "listeners: [{ name: tls, address: 127.0.0.1:0, tls: { certificates: [{ cert: new/server.pem, key: new/server.key }] } }, ",
    );
    gateway.rewrite_config(&second);
    refused_times(&gateway, 1).await;
    let folder = gateway.folder().join("new");
    fs::create_dir(&folder).unwrap();
    fs::copy(&identity.key, folder.join("server.key")).unwrap();
    fs::copy(&identity.cert, folder.join("server.pem")).unwrap();
    serves(&gateway, "second").await;
    gateway.wait_for_stdout("(tls)").await;
    let client = Client::connect_tls(gateway.addr("tls"), &certificates.client_config(&[]), NAME).await;
    assert_eq!(client.certificate(), identity.certificate());
    is_generation(&gateway, 2).await;
    assert!(in_sync(&gateway).await);
    assert!(report(&gateway).await["error_text"].is_null());
}

#[tokio::test]
async fn files_that_are_named_no_more_are_not_looked_at() {
    let certificates = Certificates::new();
    let identity = certificates.server(&[NAME]);
    let gateway = builder(&identity, "").start().await;
    gateway.reload(&answering("plain")).await;
    assert_eq!(get(&gateway, "/").await, "plain");
    fs::remove_file(gateway.folder().join("server.pem")).unwrap();
    assert_eq!(post(&gateway).await.status, 200);
    assert_eq!((refused(&gateway).await, gateway.generation().await), (0, 2));
}
