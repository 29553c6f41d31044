//! The way of a request through its filters, to the route's action, and back.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::{HeaderValue, Method, Uri, header};

use crate::filter::{Chain, RequestHead, Session};
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::forward;
use crate::http::h1::parse_target;
use crate::http::path::{EncodedSlash, normalise};
use crate::proxy::action::act;
use crate::proxy::client::{Client, RequestStart};
use crate::proxy::exchange_log::ExchangeLog;
use crate::proxy::incoming::{Incoming, check_slashes};
use crate::proxy::reply::{Answer, Call};
use crate::router::{Found, Parameters, RequestLine};
use crate::snapshot::Route;

/// A request whose route has filters, before they see it.
pub(crate) struct Filtered<'a, 'r, 'p> {
    pub(crate) client: &'a Client,
    pub(crate) start: &'a RequestStart,
    pub(crate) chain: &'a Chain,
    pub(crate) found: &'a Found<'r, 'p, Arc<Route>>,
    pub(crate) uri: &'a Uri,
    pub(crate) call: &'a Call,
}

impl Filtered<'_, '_, '_> {
    /// Takes the request through its filters, performs the route's action, and takes the response back through them.
    /// The gateway's own errors pass the response callbacks as any response does, and so do local responses.
    pub(crate) async fn answer(
        &self,
        incoming: Incoming<'_>,
        log: &mut ExchangeLog,
    ) -> Result<Answer, Error> {
        let timer = &self.call.timer;
        let (session, incoming) = self.begin(incoming, log);
        let method = incoming.method.clone();
        if let Err(error) = session.begin(self.chain) {
            return self.ended(&session, &method, error).await;
        }
        let (head, incoming) = if self.chain.sees_requests() {
            match session.request(incoming.body, timer).await {
                Ok((head, body)) => (Some(head), Incoming { body, ..incoming }),
                Err(error) => return self.ended(&session, &method, error).await,
            }
        } else {
            (None, incoming)
        };
        // Boxed, because it is large and is moved into one of two places.
        let acting = Box::pin(self.act(&session, head, incoming, log));
        let acted = if session.may_decide_later() { undecided(&session, acting).await } else { acting.await };
        let answer = match acted {
            Ok(answer) => answer,
            Err(error) => match self.ended(&session, &method, error).await {
                // A client that has left, or that a filter rejected, gets no response from another filter. The error of
                // a response that has gone through the filters does not go through them again.
                Err(error) if is_final(error) || session.has_response() => return Err(error),
                Err(error) => {
                    log.failed(error);
                    error.into()
                }
                Ok(answer) => return Ok(answer),
            },
        };
        let Answer { response, tunnel, close } = answer;
        match session.response(response, &method, timer).await {
            Ok(response) => Ok(Answer { response, tunnel, close }),
            Err(error) => self.ended(&session, &method, error).await,
        }
    }

    /// Ends the exchange with a filter's own response, or with the error.
    async fn ended(&self, session: &Session, method: &Method, error: Error) -> Result<Answer, Error> {
        // Boxed, because it is large and most exchanges never get here.
        match Box::pin(session.local_response(method, &self.call.timer)).await {
            Some(response) => Ok(response?.into()),
            // The filter has closed the exchange without a response.
            None if error == Error::FilterAnswered => Err(Error::FilterClosed),
            None => Err(error),
        }
    }

    /// Passes the head to the filters, if any of them reads it.
    fn begin<'i>(&self, incoming: Incoming<'i>, log: &mut ExchangeLog) -> (Rc<Session>, Incoming<'i>) {
        let request_info =
            self.client.request_info(incoming.version, &self.start.settings, self.found.value, log.began());
        let (method, scheme) = (incoming.method.clone(), self.client.scheme());
        let (head, incoming) = if self.chain.sees_requests() {
            let authority = HeaderValue::from_str(incoming.authority);
            let authority = authority.unwrap_or(const { HeaderValue::from_static("") });
            let head = RequestHead::new(method, self.uri.clone(), authority, scheme, incoming.headers);
            (head, Incoming { headers: Fields::new(), ..incoming })
        } else {
            (RequestHead::unseen(method, scheme), incoming)
        };
        let session = Session::new(request_info, head);
        log.filtered(&session);
        (session, incoming)
    }

    /// Performs the route's action on the request as the filters have left it or, without a `head`, as it arrived.
    async fn act(
        &self,
        session: &Session,
        head: Option<RequestHead>,
        incoming: Incoming<'_>,
        log: &mut ExchangeLog,
    ) -> Result<Answer, Error> {
        let Some(head) = head else {
            let (route, parameters) = (self.found.value, &self.found.parameters);
            return act(&self.start.settings, route, parameters, incoming, self.call, log).await;
        };
        let changed_path = head.changed_path().map(str::to_owned);
        let RequestHead { method, mut headers, authority, .. } = head;
        if !authority.is_empty() {
            headers.insert(header::HOST, authority.clone());
        }
        let authority = authority.to_str().map_err(|_| Error::RequestHost("host.malformed"))?;
        let is_cleared = session.exchange.is_route_cleared();
        let changed = match changed_path {
            Some(path) => {
                let shared = Bytes::copy_from_slice(path.as_bytes());
                Some(parse_target(&path, shared).map_err(|_| Error::RequestPath("path.malformed"))?)
            }
            None => is_cleared.then(|| self.uri.clone()),
        };
        let normalised =
            changed.as_ref().map(|uri: &Uri| normalise(uri.path(), EncodedSlash::Keep)).transpose();
        let normalised = normalised.map_err(|error| Error::RequestPath(error.reason()))?;
        let again = match (&changed, &normalised) {
            (Some(uri), Some(path)) => self.find(uri, path, &method, &headers)?,
            _ => None,
        };
        let none = Parameters::none();
        let (route, parameters) = match &again {
            // The filters of that route have not seen the request, and those that have are not its own.
            Some(again) if is_cleared && !self.has_same_filters(again.value) => {
                return Err(Error::RouteFilters);
            }
            Some(again) if is_cleared || Arc::ptr_eq(again.value, self.found.value) => {
                (again.value, &again.parameters)
            }
            None if is_cleared => return Err(Error::NoRoute),
            // The path is not one that the route matched, so its template has no parameters in it.
            _ if changed.is_some() => (self.found.value, &none),
            _ => (self.found.value, &self.found.parameters),
        };
        if let Some(path) = &normalised {
            check_slashes(path, Some(route))?;
        }
        let path = normalised.as_deref().unwrap_or(incoming.path);
        let query = changed.as_ref().map_or(incoming.query, Uri::query);
        let incoming = Incoming { method, headers, authority, path, query, ..incoming };
        let mut answer = act(&self.start.settings, route, parameters, incoming, self.call, log).await?;
        if !Arc::ptr_eq(route, self.found.value) {
            // The edits of the route that was found first are applied at the end, as to every response.
            route.response_headers.apply(&mut answer.response.headers);
        }
        Ok(answer)
    }

    /// Returns true if a route has no filters but those that the request goes through.
    fn has_same_filters(&self, route: &Route) -> bool {
        route.filters.as_ref().is_none_or(|filters| filters.is_within(self.chain))
    }

    /// Finds the route of the request as it is now.
    fn find<'s, 'p>(
        &'s self,
        uri: &Uri,
        path: &'p str,
        method: &Method,
        headers: &Fields,
    ) -> Result<Option<Found<'s, 'p, Arc<Route>>>, Error> {
        // Filters may change the target's authority, which has become the Host by now.
        let (origin_form, version) = (Uri::default(), http::Version::HTTP_10);
        let host = forward::request_host(&origin_form, headers, version)
            .map_err(|error| Error::RequestHost(error.reason()))?;
        Ok(self.start.snapshot.router.find(&RequestLine {
            listener: self.start.settings.listener_settings.id.number(),
            host: host.host,
            path,
            query: uri.query(),
            method,
            headers,
        }))
    }
}

/// Runs the action until a filter decides otherwise.
async fn undecided(
    session: &Session,
    mut acting: Pin<Box<impl Future<Output = Result<Answer, Error>>>>,
) -> Result<Answer, Error> {
    std::future::poll_fn(|cx| {
        if let Poll::Ready(error) = session.poll_decided(cx) {
            return Poll::Ready(Err(error));
        }
        acting.as_mut().poll(cx)
    })
    .await
}

fn is_final(error: Error) -> bool {
    matches!(error, Error::Filter(_) | Error::FilterClosed | Error::ClientClosed | Error::ShuttingDown)
}
