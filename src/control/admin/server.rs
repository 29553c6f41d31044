use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::access::Reach;
use super::{AdminState, resources};
use crate::observe::rate_limited_warning::RateLimitedWarning;

/// The number of connections served at once; more wait in the kernel's queue. Probes, a scraper or two and a person
/// need a handful.
const CONNECTIONS_MAX: usize = 64;

/// The time from the accept, or the end of the previous response, to the end of a request's header.
const REQUEST_HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// The maximum lifetime of a connection, so that clients which read nothing cannot use up all of them. Clients
/// reconnect.
const CONNECTION_LIFETIME_MAX: Duration = Duration::from_secs(120);

/// The pause after a failure to accept, such as when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The limit of warnings about failures to accept.
static WARNED: RateLimitedWarning = RateLimitedWarning::every(Duration::from_secs(10));

/// The grace period for open connections after the listener has closed, so that the client that requested the reload
/// gets its response.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Serves admin requests until `shutdown` completes. Then the socket is closed at once, and the connections a second
/// later.
///
/// Speaks HTTP/1.1 only. When the process stops, let `shutdown` complete last, after the drain: `/ready` must return
/// 503 while requests still end.
pub(crate) async fn serve(listener: TcpListener, state: Arc<AdminState>, shutdown: impl Future<Output = ()>) {
    let is_loopback = listener.local_addr().is_ok_and(|address| address.ip().to_canonical().is_loopback());
    let reach = if is_loopback { Reach::Loopback } else { Reach::Network };
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, Arc::clone(&state), reach));
                }
                Err(error) => {
                    if let Some(suppressed) = WARNED.passes() {
                        tracing::warn!(suppressed, "the admin listener cannot accept: {error}");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    // Another program may want the address.
    drop(listener);
    let last = async { while connections.join_next().await.is_some() {} };
    drop(timeout(LAST_ANSWERS, last).await);
}

async fn serve_connection(stream: TcpStream, state: Arc<AdminState>, reach: Reach) {
    let state = &state;
    let service =
        service_fn(async |request| Ok::<_, Infallible>(resources::respond(state, request, reach).await));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_LIFETIME_MAX, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) if error.is_timeout() => {
            tracing::debug!("an admin connection sent no whole request in time")
        }
        Ok(Err(error)) if error.is_parse() => {
            tracing::debug!("an admin connection sent something other than HTTP/1")
        }
        Ok(Err(_)) => tracing::debug!("an admin connection ended in the middle of a request"),
        Err(_) => tracing::debug!("an admin connection reached its maximum lifetime"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::{mpsc, oneshot};
    use tokio::task::JoinHandle;

    use super::*;
    use crate::control::admin::{Access, Form, ReloadOutcome, ReloadRequest, Report, Reports};
    use crate::observe::metrics::Exposition;

    struct Admin {
        address: SocketAddr,
        state: Arc<AdminState>,
        stop: oneshot::Sender<()>,
        task: JoinHandle<()>,
        reloads: mpsc::Receiver<ReloadRequest>,
    }

    /// Reports that never change. Each says which one it is, and its form.
    struct Fixed;

    impl Reports for Fixed {
        fn access(&self) -> Arc<Access> {
            Arc::default()
        }

        fn report(&self, report: Report, query: &str, form: Form) -> Option<String> {
            (query != "pool=none").then(|| format!("{report:?} {form:?}"))
        }

        fn sentence(&self) -> String {
            "Generation 1.".to_owned()
        }

        fn config(&self) -> String {
            "routes: []\n".to_owned()
        }

        fn metrics(&self, form: Exposition) -> String {
            assert_eq!(form, Exposition::OpenMetrics);
            "# EOF\n".to_owned()
        }

        fn openapi(&self) -> String {
            "{}".to_owned()
        }
    }

    impl Admin {
        async fn start() -> Self {
            let (reload, reloads) = mpsc::channel(1);
            let state = Arc::new(AdminState { readiness: Arc::default(), reports: Box::new(Fixed), reload });
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (stop, stopped) = oneshot::channel::<()>();
            let shutdown = async { drop(stopped.await) };
            let task = tokio::spawn(serve(listener, Arc::clone(&state), shutdown));
            Self { address, state, stop, task, reloads }
        }

        /// Returns the status line, the header and the body of the response to this method, path and Host.
        async fn ask(&self, method: &str, path: &str, host: &str) -> (String, String, String) {
            Self::ask_at(self.address, &format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n")).await
        }

        async fn ask_at(address: SocketAddr, head: &str) -> (String, String, String) {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = format!("{head}Connection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut response = String::new();
            stream.read_to_string(&mut response).await.unwrap();
            let (header, body) = response.split_once("\r\n\r\n").unwrap();
            let (status, fields) = header.split_once("\r\n").unwrap();
            (status.to_owned(), fields.to_owned(), body.to_owned())
        }

        async fn get(&self, path: &str) -> (String, String) {
            let (status, _, body) = self.ask("GET", path, "localhost").await;
            (status, body)
        }
    }

    #[tokio::test]
    async fn every_page_answers_with_what_its_source_says() {
        let admin = Admin::start().await;
        let ok = |body: &str| ("HTTP/1.1 200 OK".to_owned(), body.to_owned());
        assert_eq!(admin.get("/live").await, ok("live\n"));
        assert_eq!(admin.get("/metrics").await, ok("# EOF\n"));
        assert_eq!(admin.get("/config?x=1").await, ok("routes: []\n"));
        for path in ["/pools", "/api/pools"] {
            assert_eq!(admin.get(path).await, ok("Pools Indented"));
        }
        let head = "GET /api/routes HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n";
        let (_, _, compact) = Admin::ask_at(admin.address, head).await;
        assert_eq!(compact, "Routes Compact");
        let (status, _) = admin.get("/api/history?pool=none").await;
        assert_eq!(status, "HTTP/1.1 404 Not Found");
    }

    #[tokio::test]
    async fn ready_is_503_until_it_serves_and_once_it_drains() {
        let admin = Admin::start().await;
        let unavailable = "HTTP/1.1 503 Service Unavailable";
        assert_eq!(admin.get("/ready").await, (unavailable.to_owned(), "starting\n".to_owned()));
        admin.state.readiness.set_serving();
        assert_eq!(admin.get("/ready").await, ("HTTP/1.1 200 OK".to_owned(), "ready\n".to_owned()));
        admin.state.readiness.set_draining();
        assert_eq!(admin.get("/ready").await, (unavailable.to_owned(), "draining\n".to_owned()));
    }

    #[tokio::test]
    async fn other_paths_and_methods_are_problems() {
        let admin = Admin::start().await;
        let (status, fields, body) = admin.ask("GET", "/pool", "localhost").await;
        assert_eq!(status, "HTTP/1.1 404 Not Found");
        assert!(fields.contains("content-type: application/problem+json"), "{fields}");
        let problem: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (&problem["type"], &problem["status"]),
            (&json!("tag:gateway,2026:problem:not-found"), &json!(404))
        );
        let (_, list) = admin.get("/api").await;
        assert!(list.contains("\n/api/pools ") && list.contains("(also /metrics)"), "{list}");
        let (status, fields, _) = admin.ask("POST", "/live", "localhost").await;
        assert_eq!(status, "HTTP/1.1 405 Method Not Allowed");
        assert!(fields.contains("allow: GET, HEAD"), "{fields}");
        let (status, fields, body) = admin.ask("HEAD", "/live", "localhost").await;
        assert_eq!((status.as_str(), body.as_str()), ("HTTP/1.1 200 OK", ""));
        assert!(fields.contains("content-length: 5"), "{fields}");
    }

    #[tokio::test]
    async fn a_reload_answers_with_what_came_of_it() {
        let mut admin = Admin::start().await;
        let outcomes = [
            (ReloadOutcome::Live(json!({ "generation": 2 })), "HTTP/1.1 200 OK", "\"generation\": 2"),
            (
                ReloadOutcome::Refused {
                    errors: json!([{ "message": "bad" }]),
                    text: "error: bad\n".to_owned(),
                },
                "HTTP/1.1 422 Unprocessable Entity",
                "\"message\": \"bad\"",
            ),
        ];
        for (outcome, status, body) in outcomes {
            let head = "POST /reload HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n";
            let asked = Admin::ask_at(admin.address, head);
            let done = async { admin.reloads.recv().await.unwrap().send(outcome).unwrap() };
            let ((answered, _, text), ()) = tokio::join!(asked, done);
            assert_eq!(answered, status);
            assert!(text.contains(body), "{text}");
        }
        let (status, _, _) = admin.ask("GET", "/reload", "localhost").await;
        assert_eq!(status, "HTTP/1.1 200 OK");
        admin.reloads.close();
        let (status, _, _) = admin.ask("POST", "/reload", "localhost").await;
        assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    }

    #[tokio::test]
    async fn refused_request_reaches_nothing() {
        let mut admin = Admin::start().await;
        let head = "POST /api/reload HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n";
        let (status, _, _) = Admin::ask_at(admin.address, head).await;
        assert_eq!(status, "HTTP/1.1 403 Forbidden");
        assert!(admin.reloads.try_recv().is_err());
        let (status, _, body) = admin.ask("GET", "/config", "rebound.example").await;
        assert_eq!(status, "HTTP/1.1 403 Forbidden");
        assert!(!body.contains("routes"), "{body}");
    }

    #[tokio::test]
    async fn drain_is_taken_back_but_the_end_of_the_process_is_not() {
        let admin = Admin::start().await;
        let (status, _, _) = admin.ask("DELETE", "/api/drain", "localhost").await;
        assert_eq!(status, "HTTP/1.1 409 Conflict", "it has not started");
        admin.state.readiness.set_serving();
        for _ in 0..2 {
            assert_eq!(admin.ask("POST", "/api/drain", "localhost").await.0, "HTTP/1.1 200 OK");
            assert_eq!(admin.get("/ready").await.1, "draining\n");
        }
        for _ in 0..2 {
            assert_eq!(admin.ask("DELETE", "/api/drain", "localhost").await.0, "HTTP/1.1 200 OK");
            assert_eq!(admin.get("/ready").await.1, "ready\n");
        }
        admin.ask("POST", "/api/drain", "localhost").await;
        admin.state.readiness.set_draining();
        assert_eq!(admin.ask("DELETE", "/api/drain", "localhost").await.0, "HTTP/1.1 409 Conflict");
    }

    #[tokio::test]
    async fn one_connection_more_than_the_limit_waits_for_another_to_end() {
        let admin = Admin::start().await;
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            silent.push(TcpStream::connect(admin.address).await.unwrap());
        }
        let mut waiting = std::pin::pin!(admin.get("/live"));
        // Accepting takes microseconds, so a response would have arrived long ago.
        assert!(timeout(Duration::from_millis(100), &mut waiting).await.is_err(), "it was not made to wait");
        drop(silent.pop());
        assert_eq!(waiting.await.1, "live\n");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_no_request_is_cut_off() {
        let admin = Admin::start().await;
        let mut stream = TcpStream::connect(admin.address).await.unwrap();
        stream.write_all(b"GET /live HTTP/1.1\r\n").await.unwrap();
        let begun = tokio::time::Instant::now();
        let mut rest = Vec::new();
        // A 408 before the end is hyper's choice; the end is ours.
        drop(stream.read_to_end(&mut rest).await);
        assert!(
            (REQUEST_HEADER_TIMEOUT..2 * REQUEST_HEADER_TIMEOUT).contains(&begun.elapsed()),
            "{:?}",
            begun.elapsed()
        );
    }

    #[tokio::test]
    async fn admin_server_ends_at_shutdown_although_a_client_is_connected() {
        let admin = Admin::start().await;
        let mut stream = TcpStream::connect(admin.address).await.unwrap();
        stream.write_all(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
        // The clock is paused only now: a paused clock runs ahead while only the network is awaited.
        tokio::time::pause();
        let begun = tokio::time::Instant::now();
        admin.stop.send(()).unwrap();
        admin.task.await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), LAST_ANSWERS.as_secs());
        let mut byte = [0];
        assert!(matches!(stream.read(&mut byte).await, Ok(0) | Err(_)));
    }

    #[tokio::test]
    async fn a_request_from_before_shutdown_is_answered_and_the_address_is_free_at_once() {
        let mut admin = Admin::start().await;
        let head = "POST /reload HTTP/1.1\r\nHost: localhost\r\n";
        let asked = Admin::ask_at(admin.address, head);
        let address = admin.address;
        let done = async {
            let request = admin.reloads.recv().await.unwrap();
            admin.stop.send(()).unwrap();
            while TcpStream::connect(address).await.is_ok() {
                tokio::task::yield_now().await;
            }
            request.send(ReloadOutcome::Live(json!({}))).unwrap();
        };
        let ((status, _, _), ()) = tokio::join!(asked, done);
        assert_eq!(status, "HTTP/1.1 200 OK");
        // With no open connection left, it does not wait.
        admin.task.await.unwrap();
    }
}
