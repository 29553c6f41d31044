//! `--answer`: simulated upstreams for the calls of a filter.

use std::path::{Path, PathBuf};

use http::Method;

use super::input::response_in;
use crate::filter::proxy_wasm::{PlayedAnswer, PlayedUpstreams};

/// An answer as the command line describes it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    upstream: String,
    kind: Kind,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    File(PathBuf),
    Fail,
    Timeout,
}

impl Answer {
    /// Parses `NAME=FILE`, `NAME=fail` or `NAME=timeout`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let parts = text.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty());
        let (upstream, value) = parts.ok_or_else(|| {
            format!(
                "`{}` has another form than NAME=FILE, NAME=fail or NAME=timeout; NAME is the upstream that the filter calls",
                text.escape_debug()
            )
        })?;
        let kind = match value {
            "fail" => Kind::Fail,
            "timeout" => Kind::Timeout,
            file => Kind::File(file.into()),
        };
        Ok(Self { upstream: upstream.to_owned(), kind })
    }

    /// Returns the file of the answer, if it is in one.
    pub(super) fn path(&self) -> Option<&Path> {
        match &self.kind {
            Kind::File(path) => Some(path),
            Kind::Fail | Kind::Timeout => None,
        }
    }

    /// Returns true if a call waits for this answer.
    pub(super) fn takes_time(&self) -> bool {
        self.kind == Kind::Timeout
    }
}

/// Reads the files of the answers, and adds the remarks about them to `notes`.
pub(super) fn played(answers: Vec<Answer>, notes: &mut Vec<String>) -> Result<PlayedUpstreams, String> {
    let mut upstreams = PlayedUpstreams::default();
    for Answer { upstream, kind } in answers {
        let answer = match kind {
            Kind::Fail => PlayedAnswer::Fail,
            Kind::Timeout => PlayedAnswer::Timeout,
            Kind::File(path) => {
                let response = response_in(&path, &Method::GET, notes)?;
                let status = response.status();
                if status.is_informational() {
                    return Err(format!("{} has only the interim response {status}", path.display()));
                }
                PlayedAnswer::Response(response)
            }
        };
        upstreams.add(&upstream, answer);
    }
    Ok(upstreams)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_is_a_name_and_a_file_or_a_failure() {
        for (text, upstream, kind) in [
            ("users=fail", "users", Kind::Fail),
            ("users=timeout", "users", Kind::Timeout),
            ("users=./fail", "users", Kind::File("./fail".into())),
            ("users=-", "users", Kind::File("-".into())),
            ("a.b=c=d", "a.b", Kind::File("c=d".into())),
        ] {
            assert_eq!(Answer::parse(text), Ok(Answer { upstream: upstream.to_owned(), kind }), "{text}");
        }
        for text in ["", "users", "=file", "users="] {
            let error = Answer::parse(text).unwrap_err();
            assert!(error.contains("NAME=FILE"), "{text}: {error}");
        }
    }
}
