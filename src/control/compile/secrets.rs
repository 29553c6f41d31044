//! Reading of the secrets that a configuration refers to.

use crate::config::load::code::Code;
use crate::config::load::files::Files;
use crate::config::{ConfigError, Loaded, Secret, Segment};

/// Returns the text of a secret at `place`: of a file, without the white space around it.
///
/// # Errors
/// The file cannot be read, or has no text.
pub(super) fn read_secret(
    secret: &Secret,
    place: &[Segment],
    loaded: &Loaded,
    files: &Files,
) -> Result<String, ConfigError> {
    let path = match secret {
        Secret::Value(text) => return Ok(text.clone()),
        Secret::File(path) => path,
    };
    let error = |code, message: String| loaded.source.error(code, place, message);
    let content = files.read(path).map_err(|problem| {
        error(Code::FileUnreadable, format!("cannot read {}: {problem}", path.display()))
    })?;
    match std::str::from_utf8(&content).map(str::trim) {
        Ok(text) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err(error(Code::FileInvalid, format!("`{}` has no text", path.display()))
            .help("write the secret into it, as one line")),
    }
}
