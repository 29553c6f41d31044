//! A pair of the page at work: nginx with its block, the gateway with ours, and one upstream behind both.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use support::{Certificates, Client, Gateway, Origin, Request, Response};

use super::nginx::Nginx;
use super::page;
use crate::gateway;

/// Which of the two was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proxy {
    Nginx,
    Gateway,
}

/// A request of a test.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked<'a> {
    pub(super) method: &'a str,
    pub(super) target: &'a str,
    pub(super) fields: &'a [(&'a str, &'a str)],
    pub(super) body: &'a [u8],
}

/// The outcome of a request: the request that the upstream received, if any, and the client's response.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) received: Option<Request>,
    pub(super) response: Response,
}

impl Outcome {
    /// The request target that the upstream received.
    pub(super) fn target(&self) -> Option<&str> {
        self.received.as_ref().map(|request| request.target.as_str())
    }

    /// The values of a field that the upstream received.
    pub(super) fn sent(&self, name: &str) -> Vec<&str> {
        self.received.as_ref().map(|request| request.headers.all(name)).unwrap_or_default()
    }
}

/// nginx and the gateway in front of the same upstream.
pub(super) struct Both {
    nginx: Nginx,
    gateway: Gateway,
    listener: String,
    pub(super) origin: Origin,
}

impl Both {
    /// Starts the pair of a section in front of an upstream that sends bodies back.
    pub(super) async fn start(section: &str) -> Self {
        Self::start_with(section, Origin::echo(), str::to_owned).await
    }

    /// Starts the pair of a section in front of this upstream, after `edit` has changed both blocks.
    pub(super) async fn start_with(section: &str, origin: Origin, edit: impl Fn(&str) -> String) -> Self {
        Self::start_secure(section, origin, &Certificates::new(), edit).await
    }

    /// As [`Self::start_with`], with certificates of this authority.
    pub(super) async fn start_secure(
        section: &str,
        origin: Origin,
        authority: &Certificates,
        edit: impl Fn(&str) -> String,
    ) -> Self {
        let address = origin.addr().to_string();
        let edit = |text: &str| edit(text).replace("127.0.0.1:3000", &address);
        let theirs = page::block(section, "nginx");
        let nginx = Nginx::start(&theirs, page::folder_of(authority), edit).await;
        let ours = edit(&page::block(section, "gateway").completed());
        let listener = if ours.contains("name: secure") { "secure" } else { "web" };
        let ours = ours.replace("127.0.0.1:8080", "127.0.0.1:0").replace("127.0.0.1:8443", "127.0.0.1:0");
        let builder = page::files(authority)
            .into_iter()
            .fold(gateway(ours), |builder, (path, content)| builder.file(&path, content));
        Self { nginx, gateway: builder.start().await, listener: listener.to_owned(), origin }
    }

    pub(super) fn addr(&self, proxy: Proxy) -> SocketAddr {
        match proxy {
            Proxy::Nginx => self.nginx.addr(),
            Proxy::Gateway => self.gateway.addr(&self.listener),
        }
    }

    /// A new connection to one of the two, from 127.0.0.1.
    pub(super) async fn client(&self, proxy: Proxy) -> Client {
        Client::connect_from(IpAddr::V4(Ipv4Addr::LOCALHOST), self.addr(proxy)).await
    }

    /// Sends a request through one of the two.
    pub(super) async fn through(&self, proxy: Proxy, asked: &Asked<'_>) -> Outcome {
        let before = self.origin.requests().len();
        let mut client = self.client(proxy).await;
        let response = client.request(asked.method, asked.target, asked.fields, asked.body).await;
        let mut requests = self.origin.requests().split_off(before);
        assert!(requests.len() < 2, "one request became several: {requests:?}");
        Outcome { received: requests.pop(), response }
    }

    /// Sends a request through both and returns what became of it with nginx, then with the gateway.
    pub(super) async fn ask(&self, asked: &Asked<'_>) -> [Outcome; 2] {
        let theirs = self.through(Proxy::Nginx, asked).await;
        [theirs, self.through(Proxy::Gateway, asked).await]
    }

    /// Sends `GET` of this target through both.
    pub(super) async fn get(&self, target: &str) -> [Outcome; 2] {
        self.ask(&Asked { method: "GET", target, ..Asked::default() }).await
    }

    /// Sends a request through both and returns what became of it, which has to be the same: the method, the target,
    /// the Host and the body that the upstream receives, and the status, the Location and the body of the response.
    pub(super) async fn same(&self, asked: &Asked<'_>) -> Outcome {
        let [theirs, ours] = self.ask(asked).await;
        let received = |outcome: &Outcome| {
            outcome.received.clone().map(|request| {
                let host = request.headers.get("host").map(str::to_owned);
                (request.method, request.target, host, request.body)
            })
        };
        assert_eq!(received(&theirs), received(&ours), "{asked:?}\n{}", self.nginx.log());
        assert_eq!(theirs.response.status, ours.response.status, "{asked:?}\n{}", self.nginx.log());
        assert_eq!(theirs.response.header("location"), ours.response.header("location"), "{asked:?}");
        if ours.response.status < 300 {
            assert_eq!(theirs.response.text(), ours.response.text(), "{asked:?}");
        }
        ours
    }

    /// As [`Self::same`], for `GET` of this target.
    pub(super) async fn same_get(&self, target: &str) -> Outcome {
        self.same(&Asked { method: "GET", target, ..Asked::default() }).await
    }
}
