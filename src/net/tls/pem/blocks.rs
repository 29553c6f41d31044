//! PEM blocks (RFC 7468), parsed so that none is ever skipped.
//!
//! The usual readers skip everything that they do not recognise. This loses the second of two blocks whose markers
//! share a line, and every block whose marker is damaged. A chain then has a hole that only some clients notice. This
//! reader accepts text between blocks only if nothing in it resembles a marker or the inside of a block.

use super::kind::Label;
use super::markers::{BEGIN, DASHES, END, has_damaged_marker, has_only_words};
use super::quoted::Quoted;

const ESCAPED: &str = r"`\n` stands here as two characters; write line breaks instead";

/// A block, its contents still in base64.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) label: Label,
    /// The line of its BEGIN marker, counted from 1.
    pub(super) line: usize,
    /// The contents: base64 and nothing else.
    pub(super) body: Vec<u8>,
    /// True for a legacy key with `Proc-Type: 4,ENCRYPTED` (RFC 1421 §4.6.1.1).
    pub(super) is_encrypted: bool,
    /// The first flaw between the markers. A block of a kind that is rejected anyway is rejected for its kind.
    pub(super) damage: Option<Flaw>,
}

/// A mistake in a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    /// The line, counted from 1.
    pub(super) line: usize,
    pub(super) reason: String,
}

impl Flaw {
    pub(super) fn new(line: usize, reason: impl Into<String>) -> Self {
        Self { line, reason: reason.into() }
    }
}

/// Splits a file into its blocks.
///
/// # Errors
/// A marker lacks its other half, or text outside of blocks was probably meant to be part of one.
pub(super) fn blocks(content: &[u8]) -> Result<Vec<Block>, Flaw> {
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    let mut reader = Reader::default();
    for (number, line) in (1..).zip(lines(content)) {
        // Bytes that are not UTF-8 can only be text: a subject's name, say, that `openssl x509 -text` printed.
        reader.line(number, &String::from_utf8_lossy(line))?;
    }
    match reader.open {
        None => Ok(reader.blocks),
        Some(Block { label, line, .. }) => Err(Flaw::new(
            line,
            format!(
                "the block that begins here never ends: `{END}{label}{DASHES}` is missing; the file is cut off"
            ),
        )),
    }
}

/// Returns the lines of a text, which may end in LF, CR LF or CR.
fn lines(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    content.split(|byte| *byte == b'\n').flat_map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        line.split(|byte| *byte == b'\r')
    })
}

#[derive(Default)]
struct Reader {
    blocks: Vec<Block>,
    open: Option<Block>,
}

impl Reader {
    /// Reads a line, in which any number of blocks may begin and end.
    ///
    /// Every step continues where the previous one stopped, and damage is searched for once. So one line of 16 MiB
    /// takes as long as many short ones.
    fn line(&mut self, number: usize, line: &str) -> Result<(), Flaw> {
        let mut rest = line.trim();
        if self.open.is_none() && rest.starts_with(END) {
            let reason = "this END marker has no BEGIN marker; the beginning of its block is missing";
            return Err(Flaw::new(number, reason));
        }
        if has_damaged_marker(rest) {
            return Err(damaged_marker(number, rest));
        }
        let mut follows_end = false;
        while !rest.is_empty() {
            match self.open.take() {
                None => match begin(rest) {
                    Some((label, after)) => {
                        self.open = Some(Block {
                            label,
                            line: number,
                            body: Vec::new(),
                            is_encrypted: false,
                            damage: None,
                        });
                        rest = after;
                    }
                    None if follows_end && rest.starts_with("\\n") => return Err(Flaw::new(number, ESCAPED)),
                    None if follows_end => {
                        let reason = "something follows the END marker; put it on a line of its own";
                        return Err(Flaw::new(number, reason));
                    }
                    None => return text(number, rest),
                },
                Some(mut block) => match rest.find(DASHES) {
                    Some(at) => {
                        let (inside, marker) = rest.split_at(at);
                        block.add(number, inside);
                        rest = end(marker, &block, number)?.trim_start();
                        self.blocks.push(block);
                        follows_end = true;
                    }
                    None => {
                        block.add(number, rest);
                        self.open = Some(block);
                        return Ok(());
                    }
                },
            }
        }
        Ok(())
    }
}

/// Parses the BEGIN marker that `text` starts with. Returns its label and the rest.
fn begin(text: &str) -> Option<(Label, &str)> {
    let (label, after) = text.strip_prefix(BEGIN)?.split_once(DASHES)?;
    Some((Label::from(label), after.trim_start()))
}

/// Parses the END marker of `block`. Returns the rest.
fn end<'a>(marker: &'a str, block: &Block, number: usize) -> Result<&'a str, Flaw> {
    if let Some((label, after)) = marker.strip_prefix(END).and_then(|rest| rest.split_once(DASHES)) {
        if block.label.is(label) {
            return Ok(after);
        }
        let (opened, label) = (&block.label, Quoted(label));
        let reason = format!(
            "`END {label}` ends the block `{opened}` of line {}; write the label of its BEGIN marker",
            block.line
        );
        return Err(Flaw::new(number, reason));
    }
    if begin(marker).is_some() {
        let (label, line) = (&block.label, block.line);
        let reason = format!(
            "a block begins inside the block of line {line}, whose `{END}{label}{DASHES}` is missing"
        );
        return Err(Flaw::new(number, reason));
    }
    Err(damaged_marker(number, marker))
}

/// Accepts a line outside of blocks as text, unless it was probably meant to be part of a block.
fn text(number: usize, line: &str) -> Result<(), Flaw> {
    // The label is on the next line.
    if [BEGIN, END].iter().any(|marker| line.ends_with(marker.trim_end())) {
        return Err(damaged_marker(number, line));
    }
    if line.contains(BEGIN) || line.contains(END) {
        let reason = "a marker stands behind other text; put it at the beginning of its line, or delete the block if it is \
                      commented out";
        return Err(Flaw::new(number, reason));
    }
    // All DER in PEM files is a SEQUENCE, 0x30, which begins with `M` in base64.
    if line.len() >= 40 && line.starts_with('M') && line.bytes().all(is_base64) {
        return Err(Flaw::new(
            number,
            "this is the inside of a block without its BEGIN marker; write the marker above it",
        ));
    }
    Ok(())
}

fn damaged_marker(number: usize, line: &str) -> Flaw {
    if line.contains("\\n") {
        return Flaw::new(number, ESCAPED);
    }
    // A line that lost its break may have a part of a private key beside the marker.
    let shown =
        if has_only_words(line) { format!("`{}`", line.escape_debug()) } else { "this line".to_owned() };
    let reason = format!(
        "{shown} is not a marker; write it as `{BEGIN}CERTIFICATE{DASHES}`: five hyphens on either side, in capitals"
    );
    Flaw::new(number, reason)
}

impl Block {
    /// Adds a line between the markers.
    fn add(&mut self, number: usize, line: &str) {
        let line = line.trim();
        if self.body.is_empty() && line.contains(':') {
            return self.header(number, line);
        }
        // A continued header (RFC 1421 §4.4) is of no interest, and base64 has no comma.
        match line
            .chars()
            .find(|character| !character.is_whitespace() && !u8::try_from(*character).is_ok_and(is_base64))
        {
            None => self.body.extend(line.bytes().filter(u8::is_ascii_graphic)),
            Some('\\') => self.damaged(number, ESCAPED),
            Some(character) => {
                let shown = character.escape_debug();
                self.damaged(
                    number,
                    format!("`{shown}` is not base64; the file is damaged: restore it from where it came"),
                );
            }
        }
    }

    /// Parses an encapsulated header, which only encrypted keys have.
    fn header(&mut self, number: usize, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        match name.trim() {
            "Proc-Type" if value.contains("ENCRYPTED") => self.is_encrypted = true,
            _ if self.is_encrypted => {}
            name => {
                let name = Quoted(name);
                self.damaged(
                    number,
                    format!("the header `{name}` does not belong in this block; delete the line"),
                );
            }
        }
    }

    fn damaged(&mut self, number: usize, reason: impl Into<String>) {
        self.damage.get_or_insert_with(|| Flaw::new(number, reason));
    }
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}
