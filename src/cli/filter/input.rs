//! The input of `gateway filter run`: files and standard input.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use bytes::Bytes;
use http::{Method, Response};

use super::saved;

/// Reads the response in a file, and adds the remarks about it to `notes`.
pub(super) fn response_in(
    path: &Path,
    method: &Method,
    notes: &mut Vec<String>,
) -> Result<Response<Bytes>, String> {
    let name = if is_stdin(path) { "standard input".into() } else { path.display().to_string() };
    let saved = saved::read(&file(Some(path))?, method);
    let saved = saved.map_err(|error| format!("{name} is not a response: {error}"))?;
    notes.extend(saved.notes.into_iter().map(|note| format!("{name}: {note}")));
    Ok(saved.response)
}

pub(super) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

pub(super) fn file(path: Option<&Path>) -> Result<Bytes, String> {
    let Some(path) = path else { return Ok(Bytes::new()) };
    if !is_stdin(path) {
        return contents(path).map(Bytes::from);
    }
    let mut bytes = Vec::new();
    io::stdin()
        .lock()
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot read standard input: {error}"))?;
    Ok(bytes.into())
}

pub(super) fn contents(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

pub(super) fn text_of(path: &Path) -> Result<String, String> {
    String::from_utf8(contents(path)?).map_err(|_| format!("{} is not UTF-8", path.display()))
}
