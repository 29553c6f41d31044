//! The access to the admin listener.

use super::secrets::read_secret;
use crate::config::load::code::Code;
use crate::config::load::files::Files;
use crate::config::{ConfigError, ConfigErrors, Loaded, Secrets};
use crate::control::admin::Access;
use crate::path;

/// The least characters of a token: those of 12 random bytes in base64.
const TOKEN_MIN: usize = 16;

/// Returns the rules of access to the admin listener, of which the tokens are read. Without a listener they are never asked.
///
/// # Errors
/// Returns an error for each token that cannot be read, is too short, or cannot be sent in a header field.
pub(super) fn access(loaded: &Loaded, files: &Files) -> Result<Access, ConfigErrors> {
    let Some(admin) = loaded.config.admin.as_on() else { return Ok(Access::default()) };
    let (mut tokens, mut errors) = (Vec::new(), Vec::new());
    for (index, secret) in admin.token.iter().flat_map(Secrets::as_slice).enumerate() {
        let place = match &admin.token {
            Some(Secrets::Several(_)) => path!["admin", "token", index].to_vec(),
            _ => path!["admin", "token"].to_vec(),
        };
        let token = read_secret(secret, &place, loaded, files);
        match token.and_then(|token| {
            checked(token).map_err(|reason| advised(loaded.source.error(Code::FileInvalid, &place, reason)))
        }) {
            Ok(token) => tokens.push(token),
            Err(error) => errors.push(error),
        }
    }
    ConfigErrors::check(errors)?;
    Ok(Access::new(tokens, admin.open.clone(), admin.hosts.clone()))
}

/// Returns a token that a client can send, or the reason why it is none.
fn checked(token: String) -> Result<String, String> {
    if token.len() < TOKEN_MIN {
        return Err(format!("the token has fewer than {TOKEN_MIN} characters"));
    }
    // RFC 6750 §2.1: what else is written in it, no client could send.
    let is_sendable = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    if !token.bytes().all(is_sendable) {
        return Err("the token has characters that no header field can carry".to_owned());
    }
    Ok(token)
}

fn advised(error: ConfigError) -> ConfigError {
    error.help("make one: `openssl rand -base64 24`")
}
