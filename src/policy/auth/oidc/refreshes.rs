//! The refreshes in progress, and those of a moment ago.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use tokio::sync::watch;

use super::hidden_text::HiddenText;
use super::tokens::{Outcome, TokenError};

/// The seconds for which the outcome of a refresh is kept that has brought another refresh token. Requests that a browser has sent
/// before it got the new cookie come within them; the provider would take a second use of the token for a theft.
const KEPT_SECONDS: u64 = 60;

/// The seconds for which the outcome of another refresh is kept.
const KEPT_SECONDS_SAME: u64 = 5;

/// The most outcomes that are kept.
const REFRESHES_MAX: usize = 4096;

type Key = [u8; 32];

/// The refreshes in progress, and those of a moment ago, by the digests of their tokens.
#[derive(Debug, Default)]
pub(super) struct Refreshes(Mutex<HashMap<Key, Refresh>>);

#[derive(Debug)]
struct Refresh {
    began: u64,
    outcome: watch::Receiver<Option<Outcome>>,
}

impl Refreshes {
    /// Returns the outcome of the refresh of a token, which `begin` begins unless there is one. The lock is held while it does.
    pub(super) fn join(
        &self,
        token: &HiddenText,
        now: u64,
        begin: impl FnOnce(watch::Sender<Option<Outcome>>) -> Result<(), TokenError>,
    ) -> Result<watch::Receiver<Option<Outcome>>, TokenError> {
        let mut refreshes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = refreshes.get(&key(token)).filter(|known| known.is_fresh(token, now)) {
            return Ok(known.outcome.clone());
        }
        if refreshes.len() >= REFRESHES_MAX {
            refreshes.retain(|_, refresh| now < refresh.began.saturating_add(KEPT_SECONDS));
            if refreshes.len() >= REFRESHES_MAX {
                return Err(TokenError::Unavailable);
            }
        }
        let (sender, outcome) = watch::channel(None);
        begin(sender)?;
        refreshes.insert(key(token), Refresh { began: now, outcome: outcome.clone() });
        Ok(outcome)
    }

    /// Forgets a refresh without a response, so that it is tried again.
    pub(super) fn forget_unanswered(&self, token: &HiddenText) {
        let mut refreshes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if refreshes.get(&key(token)).is_some_and(Refresh::is_unanswered) {
            refreshes.remove(&key(token));
        }
    }
}

impl Refresh {
    fn is_fresh(&self, token: &HiddenText, now: u64) -> bool {
        let has_other = match &*self.outcome.borrow() {
            Some(Ok(tokens)) => tokens.refresh_token.as_ref().is_some_and(|new| new != token),
            Some(Err(_)) => false,
            None => true,
        };
        now < self.began.saturating_add(if has_other { KEPT_SECONDS } else { KEPT_SECONDS_SAME })
    }

    fn is_unanswered(&self) -> bool {
        let is_dropped = self.outcome.has_changed().is_err();
        match &*self.outcome.borrow() {
            Some(outcome) => outcome.as_ref().err() == Some(&TokenError::Unavailable),
            None => is_dropped,
        }
    }
}

/// Returns the digest of a token, so that none is kept.
fn key(token: &HiddenText) -> Key {
    let digest = digest(&SHA256, token.0.as_bytes());
    digest.as_ref().try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::tokens::Tokens;
    use super::*;

    fn secret(text: &str) -> HiddenText {
        HiddenText(text.into())
    }

    fn tokens(refresh_token: Option<&str>) -> Outcome {
        let refresh_token = refresh_token.map(secret);
        Ok(Arc::new(Tokens { id_token: None, refresh_token, expires_in: None, received: 0 }))
    }

    /// Joins the refresh of a token. Returns true, and ends it with `outcome`, if it is a new one.
    fn is_new(refreshes: &Refreshes, token: &str, now: u64, outcome: Option<Outcome>) -> bool {
        let mut is_new = false;
        let seen = refreshes.join(&secret(token), now, |sender| {
            is_new = true;
            if outcome.is_some() {
                sender.send_replace(outcome);
            }
            Ok(())
        });
        assert!(seen.is_ok());
        is_new
    }

    #[test]
    fn refresh_is_kept_for_requests_with_the_cookie_before_it() {
        let refreshes = Refreshes::default();
        assert!(is_new(&refreshes, "a", 1000, Some(tokens(Some("b")))));
        assert!(!is_new(&refreshes, "a", 1059, None));
        assert!(is_new(&refreshes, "a", 1060, Some(tokens(None))));
        assert!(!is_new(&refreshes, "a", 1064, None));
        assert!(is_new(&refreshes, "a", 1065, Some(Err(TokenError::Refused))));
        assert!(!is_new(&refreshes, "a", 1069, None));
        refreshes.forget_unanswered(&secret("a"));
        assert!(!is_new(&refreshes, "a", 1069, None), "it was answered");
        assert!(is_new(&refreshes, "b", 1069, None));
    }

    #[test]
    fn refresh_without_a_response_is_forgotten() {
        let refreshes = Refreshes::default();
        for outcome in [None, Some(Err(TokenError::Unavailable))] {
            assert!(is_new(&refreshes, "a", 1000, outcome));
            refreshes.forget_unanswered(&secret("a"));
        }
    }

    #[test]
    fn number_of_refreshes_is_bounded() {
        let refreshes = Refreshes::default();
        for number in 0..REFRESHES_MAX {
            assert!(is_new(&refreshes, &number.to_string(), 1000, None));
        }
        let join = |now| refreshes.join(&secret("more"), now, |_| Ok(())).is_ok();
        assert!(!join(1000 + KEPT_SECONDS - 1));
        assert!(join(1000 + KEPT_SECONDS));
    }
}
