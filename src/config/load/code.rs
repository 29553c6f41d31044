//! The codes of errors and warnings, by which programs and people find them again. docs/check.md lists them.

/// The code of an error or of a warning. Messages may change between versions; codes stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Code {
    // Errors of the text.
    YamlSyntax,
    TooLarge,
    Variable,
    DuplicateKey,
    UnknownKey,
    MissingKey,
    ExclusiveKeys,
    WrongType,
    InvalidValue,
    PlainSecret,
    // Errors of values that depend on one another.
    UnknownName,
    DuplicateName,
    ReservedName,
    NoEffect,
    Contradiction,
    AddressConflict,
    // Errors that only a build finds.
    FileUnreadable,
    FileUnwritable,
    FileInvalid,
    FilterFailed,
    Unsupported,
    // Errors of a start, a reload or a comparison.
    AddressUnavailable,
    NameUnresolved,
    NeedsRestart,
    NoComparison,
    System,
    // Warnings.
    UnusedFilter,
    UnusedUpstream,
    UnusedAuth,
    UnusedStore,
    UnusedListener,
    UnreachableRoute,
    UnreachableCallback,
    RedirectLoop,
    CertificateExpired,
    CertificateExpires,
    CertificateNotYetValid,
    RevocationListExpired,
    ReadableSecret,
    UnverifiedUpstream,
    OpenAdmin,
}

/// The weight of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration is accepted.
    Warning,
}

impl Code {
    /// All codes, in the order of the documentation.
    pub(crate) const ALL: [Self; 41] = [
        Self::YamlSyntax,
        Self::TooLarge,
        Self::Variable,
        Self::DuplicateKey,
        Self::UnknownKey,
        Self::MissingKey,
        Self::ExclusiveKeys,
        Self::WrongType,
        Self::InvalidValue,
        Self::PlainSecret,
        Self::UnknownName,
        Self::DuplicateName,
        Self::ReservedName,
        Self::NoEffect,
        Self::Contradiction,
        Self::AddressConflict,
        Self::FileUnreadable,
        Self::FileUnwritable,
        Self::FileInvalid,
        Self::FilterFailed,
        Self::Unsupported,
        Self::AddressUnavailable,
        Self::NameUnresolved,
        Self::NeedsRestart,
        Self::NoComparison,
        Self::System,
        Self::UnusedFilter,
        Self::UnusedUpstream,
        Self::UnusedAuth,
        Self::UnusedStore,
        Self::UnusedListener,
        Self::UnreachableRoute,
        Self::UnreachableCallback,
        Self::RedirectLoop,
        Self::CertificateExpired,
        Self::CertificateExpires,
        Self::CertificateNotYetValid,
        Self::RevocationListExpired,
        Self::ReadableSecret,
        Self::UnverifiedUpstream,
        Self::OpenAdmin,
    ];

    /// Returns the code as reports write it, and its meaning in one sentence.
    const fn described(self) -> (&'static str, &'static str) {
        match self {
            Self::YamlSyntax => ("yaml-syntax", "The text is not one document of YAML in UTF-8."),
            Self::TooLarge => ("too-large", "A file exceeds a limit on its size, its values or its depth."),
            Self::Variable => ("variable", "An environment variable is not set, or cannot be used."),
            Self::DuplicateKey => ("duplicate-key", "A mapping has a key twice."),
            Self::UnknownKey => ("unknown-key", "A key has no meaning at its place."),
            Self::MissingKey => ("missing-key", "A required key is missing."),
            Self::ExclusiveKeys => ("exclusive-keys", "Two keys exclude each other."),
            Self::WrongType => ("wrong-type", "A value is of another type than its key takes."),
            Self::InvalidValue => {
                ("invalid-value", "A value has the wrong form, unit or range, or is no word of its key.")
            }
            Self::PlainSecret => ("plain-secret", "A secret is written out in the file."),
            Self::UnknownName => ("unknown-name", "A name refers to a part that the file does not have."),
            Self::DuplicateName => ("duplicate-name", "Two parts have the same name."),
            Self::ReservedName => ("reserved-name", "A name, a header or a parameter is the gateway's own."),
            Self::NoEffect => ("no-effect", "A setting has no effect beside the others."),
            Self::Contradiction => ("contradiction", "Two settings contradict each other."),
            Self::AddressConflict => {
                ("address-conflict", "Two listeners cannot have their addresses at once.")
            }
            Self::FileUnreadable => {
                ("file-unreadable", "A file cannot be read: this one, or one that it names.")
            }
            Self::FileUnwritable => ("file-unwritable", "The file of the access log cannot be written."),
            Self::FileInvalid => ("file-invalid", "A file that this one names has unusable content."),
            Self::FilterFailed => ("filter-failed", "A filter cannot be compiled or started."),
            Self::Unsupported => ("unsupported", "The program was built without this feature."),
            Self::AddressUnavailable => ("address-unavailable", "The gateway cannot listen on an address."),
            Self::NameUnresolved => {
                ("name-unresolved", "The host of an upstream that serves cannot be resolved.")
            }
            Self::NeedsRestart => ("needs-restart", "A reload cannot make this change."),
            Self::NoComparison => ("no-comparison", "`--diff` has nothing to compare with."),
            Self::System => ("system", "The system or the program failed; the file is not to blame."),
            Self::UnusedFilter => ("unused-filter", "No route uses a filter."),
            Self::UnusedUpstream => ("unused-upstream", "No route uses an upstream."),
            Self::UnusedAuth => ("unused-auth", "No route uses a way of authentication."),
            Self::UnusedStore => ("unused-store", "No rate limit uses a store."),
            Self::UnusedListener => ("unused-listener", "A listener has no route."),
            Self::UnreachableRoute => ("unreachable-route", "Other routes take all requests of a route."),
            Self::UnreachableCallback => {
                ("unreachable-callback", "No route receives the end of an OpenID login.")
            }
            Self::RedirectLoop => ("redirect-loop", "A route redirects requests to itself."),
            Self::CertificateExpired => ("certificate-expired", "A certificate has expired."),
            Self::CertificateExpires => ("certificate-expires", "A certificate expires within 14 days."),
            Self::CertificateNotYetValid => ("certificate-not-yet-valid", "A certificate is not valid yet."),
            Self::RevocationListExpired => {
                ("revocation-list-expired", "A revocation list is older than its term.")
            }
            Self::ReadableSecret => ("readable-secret", "Every user of the machine can read a secret."),
            Self::UnverifiedUpstream => {
                ("unverified-upstream", "The certificate of an upstream is not verified.")
            }
            Self::OpenAdmin => {
                ("open-admin", "Others than this machine reach the admin listener without a token.")
            }
        }
    }

    /// Returns the code as reports write it.
    pub(crate) const fn as_str(self) -> &'static str {
        self.described().0
    }

    /// Returns its meaning in one sentence.
    pub(crate) const fn meaning(self) -> &'static str {
        self.described().1
    }

    /// Returns its weight.
    pub(crate) const fn severity(self) -> Severity {
        match self {
            Self::UnusedFilter
            | Self::UnusedUpstream
            | Self::UnusedAuth
            | Self::UnusedStore
            | Self::UnusedListener
            | Self::UnreachableRoute
            | Self::UnreachableCallback
            | Self::RedirectLoop
            | Self::CertificateExpired
            | Self::CertificateExpires
            | Self::CertificateNotYetValid
            | Self::RevocationListExpired
            | Self::ReadableSecret
            | Self::UnverifiedUpstream
            | Self::OpenAdmin => Severity::Warning,
            _ => Severity::Error,
        }
    }
}

impl Severity {
    /// Returns the word of reports.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}
