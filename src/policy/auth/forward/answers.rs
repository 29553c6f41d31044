//! The answers that are remembered, and the questions that are being asked.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use http::StatusCode;
use tokio::sync::oneshot;

use super::answer::Answer;
use super::failure::Failure;
use super::settings::CacheSettings;
use crate::config::HashKey;
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::parts::{cookies, parameters};
use crate::net::timer::{Timer, deadline};
use crate::policy::auth::credentials::Credentials;

/// The digest of the parts of a request that an answer is for, under a random key. Nothing in memory leads back to credentials.
pub(super) type Key = [u8; 32];

const SHARDS: usize = 16;

/// The most answers that a shard remembers, and the most bytes that they take, by estimate.
const ANSWERS_MAX: usize = 512;
const BYTES_MAX: usize = 1 << 20;

/// The most requests that wait for one question. Further ones ask for themselves.
const WAITING_MAX: usize = 4096;

/// The outcome of a question, which equal ones share.
pub(super) type Outcome = Result<Arc<Answer>, Failure>;

/// The answers of a server, for all workers. Equal requests at the same time share a question, and later ones its answer for a while.
pub(super) struct Answers {
    hmac_key: hmac::Key,
    admitted: Duration,
    denied: Option<Duration>,
    /// The parts of a request that an answer is for; `None` for the whole question.
    pub(super) parts: Option<Box<[HashKey]>>,
    /// A key's first byte chooses its shard. Its lock is never held across a wait.
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Default)]
struct Shard {
    states: HashMap<Key, State, foldhash::fast::RandomState>,
    /// The keys of answers, oldest first, each with the end of its time.
    order: VecDeque<(Key, Instant)>,
    bytes: usize,
}

enum State {
    /// The question is being asked, and these wait for its answer.
    Asking(Vec<oneshot::Sender<Outcome>>),
    Known {
        answer: Arc<Answer>,
        until: Instant,
    },
}

/// The state of a question as a new request finds it.
enum Seen {
    Known(Arc<Answer>),
    /// Another request asks it.
    Asked(oneshot::Receiver<Outcome>),
    /// This request is to ask it.
    New,
    /// Another request asks it, and too many wait for it.
    TooMany,
}

impl Answers {
    /// Returns an empty memory, or `None` if the system has no random numbers.
    pub(super) fn new(settings: &CacheSettings) -> Option<Self> {
        Some(Self {
            hmac_key: hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok()?,
            admitted: settings.admitted,
            denied: settings.denied,
            parts: settings.parts.clone(),
            shards: Default::default(),
        })
    }

    /// Returns the key of a request by its parts. Returns `None` for a request without any credentials among them: all such requests
    /// would have the same key.
    pub(super) fn key_of_parts(&self, parts: &[HashKey], request: &Credentials<'_, '_>) -> Option<Key> {
        let mut digest = Digest::new(&self.hmac_key);
        digest.add(request.context.method.as_str().as_bytes());
        digest.add(request.authority().as_bytes());
        let mut has_credentials = false;
        for part in parts {
            let before = digest.values;
            match part {
                HashKey::Path => digest.add(request.context.path.as_bytes()),
                HashKey::ClientIp => {
                    let address = request.client_ip().map(|address| address.to_string());
                    digest.add(address.unwrap_or_default().as_bytes());
                }
                HashKey::Header(name) => {
                    request.headers.get_all(name.as_http()).for_each(|value| digest.add(value.as_bytes()));
                }
                HashKey::Cookie(name) => {
                    cookies(request.headers, name).for_each(|value| digest.add(value));
                }
                HashKey::Query(name) => {
                    let query = request.target.query().unwrap_or_default();
                    parameters(query, name).for_each(|value| digest.add(value.as_bytes()));
                }
            }
            let is_credential = !matches!(part, HashKey::Path | HashKey::ClientIp);
            has_credentials |= is_credential && digest.values > before;
            digest.end_part();
        }
        has_credentials.then(|| digest.finish())
    }

    /// Returns the key of a request by all that the server is told about it.
    pub(super) fn key_of_question(&self, question: &Fields) -> Key {
        let mut digest = Digest::new(&self.hmac_key);
        for (name, value) in question.iter() {
            digest.add(name.as_str().as_bytes());
            digest.add(value.as_bytes());
        }
        digest.finish()
    }

    /// Returns the answer for a key: a remembered one, that of the question in progress, or that of `ask`. If the request that asks is
    /// given up, one of those that wait asks in its place.
    pub(super) async fn get(
        &self,
        key: Key,
        timeout: Duration,
        ask: impl AsyncFnOnce() -> Outcome,
    ) -> Outcome {
        let (timer, by) = (Timer::default(), deadline(Some(timeout)));
        loop {
            let seen = self.shard(&key).see(key);
            match seen {
                Seen::Known(answer) => return Ok(answer),
                Seen::TooMany => return ask().await,
                Seen::New => {
                    let asking = Asking { answers: self, key, is_over: false };
                    let outcome = ask().await;
                    asking.end(&outcome);
                    return outcome;
                }
                Seen::Asked(answer) => match timer.within(by, answer).await {
                    Ok(Ok(outcome)) => return outcome,
                    Ok(Err(_given_up)) => {}
                    Err(_elapsed) => return Err(Failure::Unanswered(Error::RequestTimeout)),
                },
            }
        }
    }

    /// Returns the time for which an answer counts, if it does beyond the requests that wait for it.
    fn ttl(&self, answer: &Answer) -> Option<Duration> {
        if answer.is_personal() {
            return None;
        }
        match answer {
            Answer::Admitted(_) => Some(self.admitted),
            Answer::Denied(response) => {
                let is_refusal = matches!(response.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
                self.denied.filter(|_| is_refusal)
            }
        }
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, Shard> {
        let ([chooses, ..], [first, ..]) = (*key, &self.shards);
        let shard = self.shards.get(usize::from(chooses) % SHARDS).unwrap_or(first);
        // Every change is complete in itself, so the state after a panic is sound.
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question in progress. Dropping it gives the question up.
struct Asking<'a> {
    answers: &'a Answers,
    key: Key,
    is_over: bool,
}

impl Asking<'_> {
    /// Gives the outcome to all that wait for it, and remembers an answer that counts for a while.
    fn end(mut self, outcome: &Outcome) {
        let known = outcome.as_ref().ok().and_then(|answer| Some((answer, self.answers.ttl(answer)?)));
        let waiting = {
            let mut shard = self.answers.shard(&self.key);
            let waiting = shard.take(&self.key);
            if let Some((answer, ttl)) = known {
                shard.remember(self.key, answer.clone(), ttl);
            }
            waiting
        };
        for sender in waiting {
            let _left = sender.send(outcome.clone());
        }
        self.is_over = true;
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        // By now the key may be that of another question.
        if !self.is_over {
            // The receivers see that their senders are gone.
            drop(self.answers.shard(&self.key).take(&self.key));
        }
    }
}

impl Shard {
    /// Returns the state of a question. A new one counts as being asked from here on.
    fn see(&mut self, key: Key) -> Seen {
        match self.states.get_mut(&key) {
            Some(State::Asking(waiting)) if waiting.len() >= WAITING_MAX => {
                waiting.retain(|sender| !sender.is_closed());
                Seen::TooMany
            }
            Some(State::Asking(waiting)) => {
                let (sender, receiver) = oneshot::channel();
                waiting.push(sender);
                Seen::Asked(receiver)
            }
            Some(State::Known { answer, until }) if Instant::now() < *until => Seen::Known(answer.clone()),
            known => {
                let outdated = known.is_some();
                if outdated {
                    self.forget(&key);
                }
                self.states.insert(key, State::Asking(Vec::new()));
                Seen::New
            }
        }
    }

    /// Ends a question. Returns those that wait for it.
    fn take(&mut self, key: &Key) -> Vec<oneshot::Sender<Outcome>> {
        match self.states.remove(key) {
            Some(State::Asking(waiting)) => waiting,
            Some(known @ State::Known { .. }) => {
                self.states.insert(*key, known);
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// Remembers an answer. The oldest ones make room for it.
    fn remember(&mut self, key: Key, answer: Arc<Answer>, ttl: Duration) {
        let bytes = answer.bytes();
        let Some(until) = Instant::now().checked_add(ttl).filter(|_| bytes <= BYTES_MAX) else { return };
        while self.order.len() >= ANSWERS_MAX || self.bytes + bytes > BYTES_MAX {
            let Some((oldest, of)) = self.order.pop_front() else { break };
            if matches!(self.states.get(&oldest), Some(State::Known { until, .. }) if *until == of) {
                self.forget(&oldest);
            }
        }
        self.bytes += bytes;
        self.states.insert(key, State::Known { answer, until });
        self.order.push_back((key, until));
    }

    fn forget(&mut self, key: &Key) {
        if let Some(State::Known { answer, .. }) = self.states.remove(key) {
            self.bytes = self.bytes.saturating_sub(answer.bytes());
        }
    }
}

/// The digest of several texts, which are kept apart.
struct Digest {
    context: hmac::Context,
    /// The number of texts.
    values: u64,
}

impl Digest {
    fn new(key: &hmac::Key) -> Self {
        Self { context: hmac::Context::with_key(key), values: 0 }
    }

    fn add(&mut self, text: &[u8]) {
        self.values += 1;
        self.context.update(&(text.len() as u64).to_le_bytes());
        self.context.update(text);
    }

    /// Separates the texts so far from those that follow.
    fn end_part(&mut self) {
        // No text is that long.
        self.context.update(&u64::MAX.to_le_bytes());
    }

    fn finish(self) -> Key {
        let tag = self.context.sign();
        let mut key = Key::default();
        for (byte, of) in key.iter_mut().zip(tag.as_ref()) {
            *byte = *of;
        }
        key
    }
}
