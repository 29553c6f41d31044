//! The users of an htpasswd file.

use std::collections::HashMap;
use std::sync::Arc;

use super::credentials::USER_BYTES_MAX;
use super::hash::Hash;
use crate::policy::identity::Identity;

/// A user's entry.
pub(super) struct Entry {
    hash: Hash,
    /// The hash as written.
    text: Box<str>,
}

impl Entry {
    pub(super) fn hash(&self) -> &Hash {
        &self.hash
    }

    /// Returns the hash as written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

/// A user as others know it.
pub(super) struct User {
    entry: Arc<Entry>,
    identity: Arc<Identity>,
}

/// The users of a file.
#[derive(Default)]
pub(crate) struct Users {
    users: HashMap<Box<str>, User>,
    /// The entry whose computation takes longest. Passwords of unknown users are compared with it, in vain.
    costliest: Option<Arc<Entry>>,
}

/// The reason for which a line cannot be used, with advice. It shows nothing of the line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InvalidLine {
    /// The line, counted from 1.
    pub(crate) line: usize,
    pub(crate) reason: String,
    pub(crate) advice: &'static str,
}

const MAKE_ENTRY: &str = "make the entry again by `htpasswd -B -C 10 FILE NAME`";
const FORM: &str = "write `NAME:HASH`, as `htpasswd -B -C 10 FILE NAME` does";

impl Users {
    /// Parses a file for the way of this name: a line `NAME:HASH` or `NAME:HASH:COMMENT` for each user. Empty lines, and those that begin with `#`, are skipped.
    ///
    /// # Errors
    /// All lines that cannot be used.
    pub(crate) fn parse(way: &Arc<str>, content: &[u8]) -> Result<Self, Vec<InvalidLine>> {
        let mut users = Self::default();
        let mut lines: HashMap<&str, usize> = HashMap::new();
        let mut invalid = Vec::new();
        // Editors of Windows begin files with a byte order mark.
        let content = content.strip_prefix("\u{feff}".as_bytes()).unwrap_or(content);
        for (index, line) in content.split(|byte| *byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let parsed = parse_line(line).and_then(|(name, entry)| match lines.insert(name, index + 1) {
                None => Ok((name, entry)),
                // Other servers take the first line, and people mean the last one.
                Some(first) => {
                    Err((format!("the user has another entry in line {first}"), "delete one of them"))
                }
            });
            match parsed {
                Ok((name, entry)) => users.add(way, name, entry),
                Err((reason, advice)) => invalid.push(InvalidLine { line: index + 1, reason, advice }),
            }
        }
        if invalid.is_empty() { Ok(users) } else { Err(invalid) }
    }

    fn add(&mut self, way: &Arc<str>, name: &str, entry: Entry) {
        let entry = Arc::new(entry);
        if self.costliest.as_ref().is_none_or(|costliest| costliest.hash.cost() < entry.hash.cost()) {
            self.costliest = Some(Arc::clone(&entry));
        }
        let identity =
            Arc::new(Identity { way: Arc::clone(way), subject: name.into(), claims: serde_json::Map::new() });
        self.users.insert(name.into(), User { entry, identity });
    }

    /// Returns a user's entry and identity; for an unknown user the costliest entry. Returns `None` if there are no users.
    pub(super) fn find(&self, name: &str) -> Option<(&Arc<Entry>, Option<&Arc<Identity>>)> {
        match self.users.get(name) {
            Some(user) => Some((&user.entry, Some(&user.identity))),
            None => self.costliest.as_ref().map(|entry| (entry, None)),
        }
    }
}

// Hashes are secrets.
impl std::fmt::Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Users").field("users", &self.users.len()).finish_non_exhaustive()
    }
}

fn parse_line(line: &[u8]) -> Result<(&str, Entry), (String, &'static str)> {
    let text = std::str::from_utf8(line)
        .map_err(|_| ("the line is not UTF-8".to_owned(), "write the file in UTF-8"))?;
    let Some((name, rest)) = text.split_once(':') else {
        return Err(("the line has no colon".to_owned(), FORM));
    };
    if name.is_empty() || name.len() > USER_BYTES_MAX || name.chars().any(char::is_control) {
        return Err((
            "the name of the user is empty, longer than 255 bytes, or has control characters".to_owned(),
            FORM,
        ));
    }
    let hash = rest.split(':').next().unwrap_or_default();
    match Hash::parse(hash) {
        Ok(parsed) => Ok((name, Entry { hash: parsed, text: hash.into() })),
        Err(reason) => Err((format!("the hash {reason}"), MAKE_ENTRY)),
    }
}
