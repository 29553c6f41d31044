//! Requests that run on a shared connection of another worker.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;

use http::StatusCode;
use tokio::sync::mpsc;

use super::exchange::{Received, begin, receive};
use super::pool::Lease;
use super::pool::shared::StreamLease;
use super::request::{SendOptions, UpstreamRequest};
use crate::config::HeaderCase;
use crate::http::body::Body;
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::interim::{Interim, InterimSink};
use crate::net::timer::Timer;
use crate::upstream::transport::Transport;
use crate::upstream::transport::options::AddressedRequest;
use crate::upstream::transport::remote::{RemoteRequest, RemoteStream, Reply};
use crate::upstream::transport::result::{ExchangeFailure, ReceivedHead};

/// Returns the transport of a lease whose connection another worker has.
pub(super) fn transport(lease: StreamLease) -> (Transport, Lease) {
    let submit = move |request: RemoteRequest| {
        let (pool, worker) = (lease.pool().clone(), lease.worker());
        pool.run_on(worker, Box::new(move || drop(tokio::task::spawn_local(serve(lease, request)))))
    };
    (Transport::Remote(RemoteStream::new(Box::new(submit))), Lease::remote())
}

/// Sends a request of another worker on a connection of this one, and the response back. It ends when that worker wants no more.
async fn serve(lease: StreamLease, request: RemoteRequest) {
    let replies = request.replies.clone();
    let serving = pin!(exchange(lease, request));
    tokio::select! {
        biased;
        () = replies.closed() => {}
        () = serving => {}
    }
}

async fn exchange(lease: StreamLease, request: RemoteRequest) {
    let RemoteRequest { method, target, scheme, mut headers, upgrade, timeouts, body, replies } = request;
    let ping_interval = lease.pool().settings().ping_interval;
    let Ok(leased) = lease.here() else {
        let failure = ExchangeFailure {
            error: Error::UpstreamRefused,
            unanswered: true,
            unsent: true,
            unprocessed: true,
            broken: None,
            body: (),
        };
        return drop(replies.send(Reply::Failed(Box::new(failure))).await);
    };
    let timer = Timer::default();
    let interim = Interim::new(Rc::new(Forwarded(RefCell::new(replies.clone()))));
    let options = SendOptions {
        timeouts: &timeouts,
        retry: None,
        keeping: None,
        done_by: None, // the other worker watches it
        interim: Some(&interim),
        timer: &timer,
    };
    let upstream_request = UpstreamRequest {
        method: &method,
        target: &target,
        headers: &mut headers,
        endpoint_host: false,
        keep_alive: true,
        header_case: HeaderCase::Lower,
        upgrade,
    };
    let addressed = AddressedRequest { request: &upstream_request, target: &target, scheme };
    let begun = begin(leased, addressed, &options, Body::boxed(body), None, ping_interval);
    let received = match receive(begun, &options, None).await {
        Ok(received) => received,
        Err(ExchangeFailure { error, unanswered, unsent, unprocessed, .. }) => {
            let failure = ExchangeFailure { error, unanswered, unsent, unprocessed, broken: None, body: () };
            return drop(replies.send(Reply::Failed(Box::new(failure))).await);
        }
    };
    // If the other worker no longer listens, the exchange ends with this function.
    let _gone = send_response(received, &replies).await;
}

async fn send_response(
    received: Received,
    replies: &mpsc::Sender<Reply>,
) -> Result<(), mpsc::error::SendError<Reply>> {
    let Received { status, version, headers, mut body, .. } = received;
    let complete = match &body {
        Body::Empty => Some(bytes::Bytes::new()),
        Body::Full(bytes) => Some(bytes.clone()),
        Body::Request(_) | Body::Boxed(_) => None,
    };
    let is_complete = complete.is_some();
    let head = Box::new(ReceivedHead { status, version, headers });
    replies.send(Reply::Head(head, complete)).await?;
    if is_complete {
        return Ok(());
    }
    loop {
        let reply = match body.frame().await {
            Some(Ok(frame)) => Reply::Frame(frame),
            Some(Err(error)) => return replies.send(Reply::Broken(error)).await,
            None => return replies.send(Reply::End).await,
        };
        // The request may still be on its way while the response waits for room.
        let sending = pin!(replies.send(reply));
        let mut sending = Some(sending);
        let sent = std::future::poll_fn(|cx| {
            if let std::task::Poll::Ready(error) = body.poll_background(cx) {
                return std::task::Poll::Ready(Err(error));
            }
            match &mut sending {
                Some(sending) => sending.as_mut().poll(cx).map(Ok),
                None => std::task::Poll::Pending,
            }
        })
        .await;
        match sent {
            Ok(sent) => sent?,
            Err(error) => return replies.send(Reply::Broken(error)).await,
        }
    }
}

/// Sends interim responses to the other worker. It drops those for which there is no room: they are hints.
struct Forwarded(RefCell<mpsc::Sender<Reply>>);

impl InterimSink for Forwarded {
    fn send(&self, status: StatusCode, headers: &Fields) {
        let _full = self.0.borrow().try_send(Reply::Interim(status, headers.clone()));
    }
}
