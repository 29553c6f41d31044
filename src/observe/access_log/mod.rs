//! The access log: a line per request, written by a thread of its own.
//!
//! A worker formats the line into its own buffer and continues. A tenth of a second later, or as soon as a buffer is worth
//! a large write, the writer takes the buffers and writes them out. A log that cannot keep up (a full disk, a pipe without
//! a reader, a receiver that is away) drops lines and counts them. It never delays a request.
//!
//! What the configuration says about lines is compiled into a `Program`, and the output is a `Sink`. A reload that
//! changes only the former keeps the latter, with its thread and its open file.

mod calendar;
mod encode;
mod entry;
mod fields;
mod file;
mod mask;
mod program;
mod scan;
mod sink;
mod source;
mod step;
mod syslog;
mod texts;
mod writer;

use std::io;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::entry::Entry;
use self::file::LogFile;
use self::program::Program;
pub(crate) use self::sink::{Counts, Loss};
use self::sink::{Sink, Stream};
pub(crate) use self::step::Capture;
use self::syslog::SyslogSink;
use self::writer::{GATHER, Writer};
use crate::config::{self, LogOutput, TokenPlace};

/// An open access log. It is cheap to clone, and all clones are one log. When the last one is dropped, the log writes
/// its remaining lines and ends.
#[derive(Debug, Clone)]
pub(crate) struct AccessLog(Arc<Open>);

#[derive(Debug)]
struct Open {
    program: Program,
    output: Arc<Output>,
}

/// An open output. Logs that differ only in their lines share it.
#[derive(Debug)]
struct Output {
    writer: Writer,
    place: Place,
}

/// The destination of the lines.
#[derive(Debug)]
enum Place {
    /// A standard stream, by its name.
    Stream(&'static str),
    File(Arc<LogFile>),
    Syslog(config::SyslogReceiver),
}

/// The outcome of [`AccessLog::reopen`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reopened {
    /// The file had been moved or removed; a new one has been opened at its path.
    Anew,
    Same,
    /// The log does not go to a file.
    NoFile,
}

impl AccessLog {
    /// Opens the output and starts the writer. Keys and tokens in the places of `credentials` are masked. A log that runs already continues
    /// to write, if its output stays the same.
    ///
    /// # Errors
    /// A file cannot be opened. A receiver of syslog need not be there.
    pub(crate) fn open(
        settings: &config::AccessLog,
        credentials: &[TokenPlace],
        running: Option<&Self>,
    ) -> io::Result<Self> {
        let program = Program::new(settings, credentials);
        if let Some(running) = running.filter(|running| running.0.output.place.is(settings)) {
            if running.0.program == program {
                return Ok(running.clone());
            }
            return Ok(Self(Arc::new(Open { program, output: running.0.output.clone() })));
        }
        let (sink, place): (Box<dyn Sink>, Place) = match &settings.output {
            LogOutput::Stdout => (Box::new(Stream(Box::new(io::stdout()))), Place::Stream("stdout")),
            LogOutput::Stderr => (Box::new(Stream(Box::new(io::stderr()))), Place::Stream("stderr")),
            LogOutput::File(path) => {
                let (file, sink) = LogFile::open(path, settings.rotate)?;
                (Box::new(sink), Place::File(file))
            }
            LogOutput::Syslog(receiver) => {
                (Box::new(SyslogSink::new(receiver.clone())), Place::Syslog(receiver.clone()))
            }
        };
        let counts = running.map_or_else(Arc::default, |running| running.counts().clone());
        Self::to_sink(program, sink, place, counts)
    }

    fn to_sink(program: Program, sink: Box<dyn Sink>, place: Place, counts: Arc<Counts>) -> io::Result<Self> {
        let writer = Writer::start(sink, counts, GATHER)?;
        Ok(Self(Arc::new(Open { program, output: Arc::new(Output { writer, place }) })))
    }

    /// Returns the parts of an exchange that its entry needs.
    pub(crate) fn capture(&self) -> &Capture {
        self.0.program.capture()
    }

    /// Returns true if the output's path still leads to the file that is written to. It returns false after a rotation
    /// has moved or removed the file, which then has to be opened again. Other outputs are always current.
    ///
    /// Reads the file system, so call it on the control plane.
    #[cfg(test)]
    pub(crate) fn is_current(&self) -> bool {
        match &self.0.output.place {
            Place::File(file) => file.is_current(),
            Place::Stream(_) | Place::Syslog(_) => true,
        }
    }

    /// Reopens the log's file if it was moved or removed. New lines go to the new file, and no line is lost. Call it on
    /// the control plane: it reads the file system.
    ///
    /// # Errors
    /// Returns an error if the file cannot be opened. Lines still go to the old one.
    pub(crate) fn reopen(&self) -> io::Result<Reopened> {
        let Place::File(file) = &self.0.output.place else { return Ok(Reopened::NoFile) };
        let is_other = file.reopen(|sink| self.0.output.writer.redirect(Box::new(sink)))?;
        Ok(if is_other { Reopened::Anew } else { Reopened::Same })
    }

    /// Returns the output as the configuration writes it: a path, `stdout`, `stderr` or a receiver.
    pub(crate) fn output(&self) -> String {
        match &self.0.output.place {
            Place::File(file) => file.path.display().to_string(),
            Place::Stream(name) => (*name).to_owned(),
            Place::Syslog(receiver) => receiver.to_string(),
        }
    }

    /// Returns true if both write to the same open output.
    pub(crate) fn has_same_output(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0.output, &other.0.output)
    }

    /// Appends a line, if the log is about such a request. It never waits for the output. If this thread's buffer is full (1 MiB), or the
    /// log is closed, the line is dropped and counted.
    pub(crate) fn write(&self, entry: &Entry<'_>) {
        let program = &self.0.program;
        if program.keeps(entry) {
            self.0.output.writer.append(|lines, texts| program.line(lines, texts, entry));
        }
    }

    /// Returns the counts of lines that could not be written since the start.
    pub(crate) fn counts(&self) -> &Arc<Counts> {
        self.0.output.writer.counts()
    }

    /// Writes the remaining lines and ends the writer. Returns true if that was done within `patience`.
    ///
    /// Blocks the calling thread, so call it at the end of the process, after the last request. A log that a reload
    /// replaces is just dropped.
    pub(crate) fn close(&self, patience: Duration) -> bool {
        self.0.output.writer.close(patience)
    }
}

impl Place {
    /// Returns true if a log with these settings goes to the same place in the same way.
    fn is(&self, settings: &config::AccessLog) -> bool {
        match (self, &settings.output) {
            (Self::Stream(name), LogOutput::Stdout) => *name == "stdout",
            (Self::Stream(name), LogOutput::Stderr) => *name == "stderr",
            (Self::File(file), LogOutput::File(path)) => file.path == *path && file.rotate == settings.rotate,
            (Self::Syslog(receiver), LogOutput::Syslog(wanted)) => receiver == wanted,
            _ => false,
        }
    }
}

/// Checks that an output could be opened. Creates and sends nothing.
pub(crate) fn check_output(settings: &config::AccessLog) -> io::Result<()> {
    match &settings.output {
        LogOutput::File(path) => file::check(path, settings.rotate.is_some()),
        LogOutput::Stdout | LogOutput::Stderr | LogOutput::Syslog(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
