//! Another server that decides about requests.

mod answer;
mod answers;
mod failure;
mod question;
mod server;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use self::answer::Answer;
use self::answers::{Answers, Outcome};
use self::failure::Failure;
pub(crate) use self::server::{Asked, AuthServer, BODY_BYTES_MAX, Question};
pub(crate) use self::settings::ForwardSettings;
use super::credentials::Credentials;
use super::{Additions, Verdict};
use crate::http::fields::Fields;
use crate::http::forward::is_spelling_of;
use crate::http::trace;
use crate::observe::rate_limited_warning::RateLimitedWarnings;

/// The reason for not finding out who calls.
const UNAVAILABLE: &str = "auth.forward";

/// The minimum interval between two warnings of a kind.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// A way to know callers by another server.
pub(crate) struct Forward {
    settings: ForwardSettings,
    server: Arc<dyn AuthServer>,
    /// The memory of answers, if there is one.
    answers: Option<Answers>,
    warned: RateLimitedWarnings,
}

impl Forward {
    /// Returns the way of these settings, or `None` if its answers could not be remembered: the system has no random numbers.
    pub(crate) fn new(settings: ForwardSettings, server: Arc<dyn AuthServer>) -> Option<Self> {
        let answers = match &settings.cache {
            Some(cache) => Some(Answers::new(cache)?),
            None => None,
        };
        Some(Self { settings, server, answers, warned: RateLimitedWarnings::every(WARN_EVERY) })
    }

    /// Returns true if the other asks the same server the same questions. Its answers then count as well.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.settings == other.settings && self.server.is_same(&*other.server)
    }

    /// Lets the server decide about a request.
    pub(super) async fn verify(&self, request: &Credentials<'_, '_>, additions: &mut Additions) -> Verdict {
        let answer = match self.outcome(request).await {
            Ok(answer) => answer,
            Err(failure) => return self.undecided(failure),
        };
        match &*answer {
            Answer::Admitted(admitted) => {
                additions.request.extend(copies(&admitted.request));
                additions.response.extend(copies(&admitted.response));
                Verdict::Known(admitted.identity.clone())
            }
            Answer::Denied(response) => Verdict::Responds(Box::new(response.clone().into())),
        }
    }

    /// Removes the fields that only the server may write.
    pub(super) fn remove(&self, headers: &mut Fields) {
        for field in &self.settings.response_headers {
            headers.retain(|name, _| name != field && !is_spelling_of(name, field));
        }
    }

    /// Returns a remembered outcome, or that of a question.
    async fn outcome(&self, request: &Credentials<'_, '_>) -> Outcome {
        let Some(answers) = &self.answers else {
            return self.ask(self.settings.question(request), request).await;
        };
        // Only the default key needs the question.
        let (key, question) = match &answers.parts {
            Some(parts) => (answers.key_of_parts(parts, request), None),
            None => {
                let question = self.settings.question(request);
                let has_any = self.settings.request_headers.iter().any(|name| question.contains_key(name));
                (has_any.then(|| answers.key_of_question(&question)), Some(question))
            }
        };
        let ask =
            async || self.ask(question.unwrap_or_else(|| self.settings.question(request)), request).await;
        match key {
            Some(key) => answers.get(key, self.settings.timeout, ask).await,
            // All requests without credentials would share an answer.
            None => ask().await,
        }
    }

    async fn ask(&self, mut headers: Fields, request: &Credentials<'_, '_>) -> Outcome {
        if request.context.is_traced {
            trace::join(&mut headers, &trace::fields(request.headers));
        }
        let ForwardSettings { method, target, timeout, .. } = &self.settings;
        let question =
            Question { method: method.clone(), target: target.clone(), headers, timeout: *timeout };
        let response = self.server.ask(question).await.map_err(Failure::Unanswered)?;
        self.settings.read(response).map(Arc::new)
    }

    fn undecided(&self, failure: Failure) -> Verdict {
        let reason = failure.reason();
        if let Some(suppressed) = self.warned.passes(reason) {
            let (auth, fate) =
                (&*self.settings.way, if self.settings.is_open { "admitted" } else { "refused" });
            tracing::warn!(
                auth,
                reason,
                suppressed,
                "the server of `forward` does not decide: {failure}; its requests are {fate}"
            );
        }
        if self.settings.is_open { Verdict::Open } else { Verdict::Unavailable(UNAVAILABLE) }
    }
}

fn copies(fields: &Fields) -> impl Iterator<Item = (http::HeaderName, http::HeaderValue)> {
    fields.iter().map(|(name, value)| (name.clone(), value.clone()))
}
