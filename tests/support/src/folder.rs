//! Temporary folders.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

/// Creates a folder that other users cannot enter. Files with secrets in it cause no warnings.
///
/// # Panics
/// Panics if it cannot be created.
#[must_use]
pub fn private_folder() -> TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap()
}
