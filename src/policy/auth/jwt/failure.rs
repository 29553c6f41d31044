//! The reasons for which a token is not accepted.

use crate::policy::auth::place::Misplaced;

/// A reason for which a token is not accepted, or cannot be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The request has more than one token in the place of the token.
    Several,
    /// The token is longer than `max_token`.
    TooLarge,
    /// The token is not a signed token in the compact form, or its head or its claims are not a JSON object.
    Malformed,
    /// The token is signed by an algorithm that `algorithms` does not list, or that its key is not for.
    Algorithm,
    /// The head requires an extension (RFC 7515 §4.1.11, RFC 7797).
    Critical,
    /// The token is of another type than an access token or an identity token.
    Type,
    /// The issuer has no key of this identifier.
    UnknownKey,
    /// The signature is not of the key.
    Signature,
    /// The token has expired.
    Expired,
    /// The token is not valid yet.
    NotYet,
    /// The token is issued in the future.
    IssuedLater,
    /// The token is of another issuer.
    Issuer,
    /// The token is for other audiences.
    Audience,
    /// A required claim is missing, or a claim has another form than the RFC's.
    Claims,
    /// The issuer's keys are not known yet.
    Keys,
}

impl From<Misplaced> for Failure {
    fn from(misplaced: Misplaced) -> Self {
        match misplaced {
            Misplaced::Several => Self::Several,
            Misplaced::NotText => Self::Malformed,
        }
    }
}

impl Failure {
    /// Returns the stable, machine-readable reason.
    pub(crate) fn reason(self) -> &'static str {
        self.parts().0
    }

    /// Returns the description of a reason for the client (RFC 6750 §3), if it is that of a token. It has no quotes.
    pub(super) fn describe(reason: &str) -> Option<&'static str> {
        let found = Self::ALL.into_iter().find(|failure| failure.reason() == reason);
        found.map(|failure| failure.parts().1)
    }

    const ALL: [Self; 14] = [
        Self::Several,
        Self::TooLarge,
        Self::Malformed,
        Self::Algorithm,
        Self::Critical,
        Self::Type,
        Self::UnknownKey,
        Self::Signature,
        Self::Expired,
        Self::NotYet,
        Self::IssuedLater,
        Self::Issuer,
        Self::Audience,
        Self::Claims,
    ];

    fn parts(self) -> (&'static str, &'static str) {
        match self {
            Self::Several => ("auth.jwt.several", "more than one token"),
            Self::TooLarge => ("auth.jwt.max_token", "the token is too long"),
            Self::Malformed => ("auth.jwt.malformed", "the token is malformed"),
            Self::Algorithm => ("auth.jwt.algorithms", "the algorithm is not permitted"),
            Self::Critical => ("auth.jwt.crit", "the token requires an extension"),
            Self::Type => ("auth.jwt.type", "the type of the token is not permitted"),
            Self::UnknownKey => ("auth.jwt.kid", "the key is unknown"),
            Self::Signature => ("auth.jwt.signature", "the signature is wrong"),
            Self::Expired => ("auth.jwt.expired", "the token has expired"),
            Self::NotYet => ("auth.jwt.not_before", "the token is not valid yet"),
            Self::IssuedLater => ("auth.jwt.issued_at", "the token is issued in the future"),
            Self::Issuer => ("auth.jwt.issuer", "the token is of another issuer"),
            Self::Audience => ("auth.jwt.audiences", "the token is for another audience"),
            Self::Claims => ("auth.jwt.required_claims", "a claim is missing or malformed"),
            Self::Keys => ("auth.jwt.keys", "the keys of the issuer are not known"),
        }
    }
}
