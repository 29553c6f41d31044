//! Writing to standard output, which may be full, or a pipe whose reader leaves early (`gateway schema | head`).

use std::io::{self, Write};

/// Writes the text at once.
///
/// # Errors
/// The output cannot be written: its reader is gone ([`std::io::ErrorKind::BrokenPipe`]), or the disk is full.
pub(crate) fn print(text: &str) -> io::Result<()> {
    print_parts(&[text.as_bytes()])
}

/// Does the same as [`print()`], for bytes in several parts.
pub(crate) fn print_parts(parts: &[&[u8]]) -> io::Result<()> {
    let mut output = io::stdout().lock();
    parts.iter().try_for_each(|part| output.write_all(part)).and_then(|()| output.flush())
}
