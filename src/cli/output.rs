//! Writing to the standard output, where a reader may leave early (`gateway schema | head`).

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

/// Writes the text at once; a reader that is gone is no error, since it has seen what it wanted.
///
/// # Errors
/// When the output can't be written for another reason, such as a full disk.
pub fn print(text: &str) -> io::Result<()> {
    print_to(&mut io::stdout().lock(), text)
}

/// Writes all that a command has to say: failure when it can't.
pub fn print_to_end(text: &str) -> ExitCode {
    if print(text).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print_to(output: &mut impl Write, text: &str) -> io::Result<()> {
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Failing(ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn only_a_reader_that_is_gone_is_no_error() {
        assert!(print_to(&mut Failing(ErrorKind::BrokenPipe), "text").is_ok());
        assert!(print_to(&mut Failing(ErrorKind::StorageFull), "text").is_err());
    }
}
