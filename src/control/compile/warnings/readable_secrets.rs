//! Secrets in files that every user of the machine can read.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::config::{Code, Config, ConfigWarning, Loaded, Secret, Secrets, Segment};
use crate::control::compile::warnings::certificates::identities;
use crate::path;

/// The permission of everyone else to read a file, and to pass through a folder.
const OTHERS_READ: u32 = 0o004;
const OTHERS_PASS: u32 = 0o001;

pub(super) fn warnings(loaded: &Loaded) -> impl Iterator<Item = ConfigWarning> {
    secrets(&loaded.config).into_iter().filter_map(|(place, noun, file)| {
        let mode = readable_mode(file)?;
        let file = file.display();
        let message = format!("every user of this machine can read the {noun} `{file}` (mode {mode:04o})");
        let help = "`chmod o-rwx` it, and let the user or group of the gateway own it";
        Some(loaded.source.warning(Code::ReadableSecret, &place, message, help))
    })
}

/// Returns the mode of a file that every user can read: they can pass its folders, and have the right.
fn readable_mode(file: &Path) -> Option<u32> {
    // The file at the end of symbolic links counts, and so do the folders that lead there.
    let file = file.canonicalize().ok()?;
    let metadata = fs::metadata(&file).ok().filter(fs::Metadata::is_file)?;
    let mode = metadata.permissions().mode() & 0o7777;
    let may_pass = |folder: &Path| {
        fs::metadata(folder).is_ok_and(|metadata| metadata.permissions().mode() & OTHERS_PASS != 0)
    };
    (mode & OTHERS_READ != 0 && file.ancestors().skip(1).all(may_pass)).then_some(mode)
}

/// A file with a secret: the place that names it, a noun for it, and its path.
type SecretFile<'a> = (Vec<Segment>, &'static str, &'a Path);

fn secrets(config: &Config) -> Vec<SecretFile<'_>> {
    let mut found = Vec::new();
    for (base, files) in identities(config) {
        found.push(([&base[..], &path!["key"]].concat(), "private key", &*files.key));
    }
    if let Some(token) = config.admin.as_on().and_then(|admin| admin.token.as_ref()) {
        found.extend(secret_files(token, &path!["admin", "token"]));
    }
    for (name, secret) in config.telemetry.traces.as_on().into_iter().flat_map(|traces| &traces.headers) {
        let place = path!["telemetry", "traces", "headers", name.as_http().as_str()];
        found.extend(secret_file(secret, place.to_vec()));
    }
    for (name, way) in &config.auth {
        if let Some(basic) = &way.basic {
            found.push((path!["auth", name, "basic", "users"].to_vec(), "password hashes in", &*basic.users));
        }
        let Some(oidc) = &way.oidc else { continue };
        let base = path!["auth", name, "oidc"];
        let client_secret = [&base[..], &path!["client_secret"]].concat();
        found.extend(
            oidc.client_secret.iter().filter_map(|secret| secret_file(secret, client_secret.clone())),
        );
        found.extend(secret_files(&oidc.session.secret, &[&base[..], &path!["session", "secret"]].concat()));
    }
    found
}

/// Returns the files of secrets whose key is at `base`.
fn secret_files<'a>(secrets: &'a Secrets, base: &[Segment]) -> Vec<SecretFile<'a>> {
    let place = |index: usize| match secrets {
        Secrets::One(_) => base.to_vec(),
        Secrets::Several(_) => [base, &path![index]].concat(),
    };
    let secrets = secrets.as_slice().iter().enumerate();
    secrets.filter_map(|(index, secret)| secret_file(secret, place(index))).collect()
}

fn secret_file(secret: &Secret, place: Vec<Segment>) -> Option<SecretFile<'_>> {
    let Secret::File(file) = secret else { return None };
    Some((place, "secret in", file))
}
