//! A proxy on Pingora that does what the bench's scenarios ask for, and nothing else.

use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use clap::Parser;
use pingora::listeners::tls::TlsSettings;
use pingora::prelude::*;
use pingora::server::configuration::ServerConf;

// As the gateway has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Serves until it is killed.
#[derive(Parser)]
struct Arguments {
    /// Port for plain clients
    #[arg(long)]
    port: u16,
    /// Port for TLS clients
    #[arg(long)]
    tls_port: u16,
    /// Address of the origin
    #[arg(long)]
    origin: String,
    /// Address of the origin that speaks TLS
    #[arg(long)]
    origin_tls: String,
    /// The certificate, PEM
    #[arg(long)]
    certificate: String,
    /// Its key, PEM
    #[arg(long)]
    key: String,
    /// Prefix routes besides the usual ones
    #[arg(long)]
    routes: usize,
    /// Idle connections to keep to the origin
    #[arg(long)]
    idle: usize,
}

struct Proxy {
    origin: String,
    origin_tls: String,
    routes: Vec<String>,
}

impl Proxy {
    /// One route after the other, which is what a small program would do.
    fn is_route(&self, path: &str) -> bool {
        self.routes.iter().any(|route| path.starts_with(route.as_str()))
    }
}

/// Whether the connection to the origin is for this request alone.
fn is_once(path: &str) -> bool {
    path.starts_with("/off/") || path.starts_with("/tls-off/")
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, session: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        let path = session.req_header().uri.path();
        let route = self.is_route(path);
        let tls = !route && (path.starts_with("/tls/") || path.starts_with("/tls-off/"));
        let address = if tls { &self.origin_tls } else { &self.origin };
        let mut peer = HttpPeer::new(address.as_str(), tls, "localhost".to_owned());
        // Connections that are not kept are none that were kept for others.
        peer.group_key = u64::from(!route && is_once(path));
        peer.options.verify_cert = false;
        peer.options.verify_hostname = false;
        peer.options.connection_timeout = Some(Duration::from_secs(5));
        peer.options.read_timeout = Some(Duration::from_secs(30));
        peer.options.write_timeout = Some(Duration::from_secs(30));
        Ok(Box::new(peer))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        _: &mut (),
    ) -> Result<()> {
        if let Some(client) = session.client_addr().and_then(|address| address.as_inet()) {
            request.insert_header("X-Forwarded-For", client.ip().to_string())?;
        }
        let tls = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
        request.insert_header("X-Forwarded-Proto", if tls { "https" } else { "http" })?;
        request.insert_header("Via", "1.1 pingora")?;
        if is_once(session.req_header().uri.path()) {
            request.insert_header("Connection", "close")?;
        }
        Ok(())
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        _: &mut (),
    ) -> Result<Option<Duration>> {
        if session.req_header().uri.path().starts_with("/upper/")
            && let Some(piece) = body.take()
        {
            let mut piece = BytesMut::from(piece);
            piece.make_ascii_uppercase();
            *body = Some(piece.freeze());
        }
        Ok(None)
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let settings =
        ServerConf { threads: 1, upstream_keepalive_pool_size: arguments.idle, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, settings);
    server.bootstrap();
    let proxy = Proxy {
        origin: arguments.origin,
        origin_tls: arguments.origin_tls,
        routes: (0..arguments.routes).map(|number| format!("/route-{number}/")).collect(),
    };
    let mut service = http_proxy_service(&server.configuration, proxy);
    service.add_tcp(&format!("127.0.0.1:{}", arguments.port));
    let mut tls = TlsSettings::intermediate(&arguments.certificate, &arguments.key)?;
    tls.enable_h2();
    service.add_tls_with_settings(&format!("127.0.0.1:{}", arguments.tls_port), None, tls);
    server.add_service(service);
    server.run_forever()
}
