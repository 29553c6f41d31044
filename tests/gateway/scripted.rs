//! Plugins as scripts: a line for each host function that is called, and a report of what it answered.
//!
//! ```text
//! set_field 0 x-name 'a value'
//! get_field 0 x-name -> bytes
//! answer
//! ```
//!
//! A line begins with the function's name among the imports, without its `$`. Its arguments are numbers (`1L` has 64 bits),
//! parameters of the callback (`$1`), and texts, each of which is two arguments: where it is, and its length. `\0`, `\n`,
//! `\r` and `\xHH` may be in them, quotes around those with spaces, or that would be something else. Behind `->` is what the
//! function writes: `bytes`, `u32`, `u64`. Each call adds a line to the report: the status, and what was written. Besides
//! there are:
//!
//! - `text TEXT`: adds a line to the report, `number $1` one with a number
//! - `say`: writes the report into the log, `|` between its lines, and begins a new one
//! - `answer`: a local response whose body is the report
//! - `field NAME`: the report becomes the value of this field of the response
//! - `return N`: what the callback answers; 0 without it, or what means "all is well" where that is another number
//! - `(…`, `)…`: WAT, in which texts in quotes stand for their two arguments; memory below 4096 is the test's
//!
//! A test that is about the order of callbacks writes them in WAT altogether ([`script`]): `$note` logs a text and two numbers
//! at once, and [`notes`] reads them.

use std::fmt::Write as _;

use support::{Gateway, wait_until};

use crate::filtering::plugin_with;

/// Where a function writes what it answers.
const SLOTS: usize = 0x8000;

/// Texts of scripts.
const TEXTS: usize = 0x1000;

/// The functions by which scripts report, and where the report is.
const REPORT: &str = r#"
(global $end (mut i32) (i32.const 0x10000))
(func $byte (param i32)
  (if (i32.lt_u (global.get $end) (i32.const 0x7f000)) (then
    (i32.store8 (global.get $end) (local.get 0))
    (global.set $end (i32.add (global.get $end) (i32.const 1))))))
(func $show (param $at i32) (param $length i32)
  (block $done (loop $next
    (br_if $done (i32.eqz (local.get $length)))
    (call $byte (i32.load8_u (local.get $at)))
    (local.set $at (i32.add (local.get $at) (i32.const 1)))
    (local.set $length (i32.sub (local.get $length) (i32.const 1)))
    (br $next))))
(func $show_number (param $number i64)
  (if (i64.ge_u (local.get $number) (i64.const 10))
    (then (call $show_number (i64.div_u (local.get $number) (i64.const 10)))))
  (call $byte (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get $number) (i64.const 10))))))
(func $show_status (param i32) (call $show_number (i64.extend_i32_u (local.get 0))))
(func $line (call $byte (i32.const 10)))
(func $one_line (param $at i32)
  (block $done (loop $next
    (br_if $done (i32.ge_u (local.get $at) (global.get $end)))
    (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 10))
      (then (i32.store8 (local.get $at) (i32.const 124))))
    (local.set $at (i32.add (local.get $at) (i32.const 1)))
    (br $next))))
(func $note (param $text i32) (param $length i32) (param $first i32) (param $second i32)
  (local $begin i32)
  (local.set $begin (global.get $end))
  (call $show 'note: ')
  (call $show (local.get $text) (local.get $length))
  (call $byte (i32.const 32)) (call $show_status (local.get $first))
  (call $byte (i32.const 32)) (call $show_status (local.get $second))
  (drop (call $log (i32.const 2) (local.get $begin) (i32.sub (global.get $end) (local.get $begin))))
  (global.set $end (local.get $begin)))
(func $report_length (result i32) (i32.sub (global.get $end) (i32.const 0x10000)))
(func $say
  (call $one_line (i32.const 0x10000))
  (drop (call $log (i32.const 2) (i32.const 0x10000) (call $report_length)))
  (global.set $end (i32.const 0x10000)))
(func $answer
  (drop (call $respond (i32.const 200) (i32.const 0) (i32.const 0) (i32.const 0x10000) (call $report_length)
    (i32.const 0) (i32.const 0) (i32.const -1)))
  (global.set $end (i32.const 0x10000)))
(func $field (param $name i32) (param $length i32)
  (call $one_line (i32.const 0x10000))
  (drop (call $set_field (i32.const 2) (local.get $name) (local.get $length) (i32.const 0x10000) (call $report_length)))
  (global.set $end (i32.const 0x10000)))
"#;

/// The callbacks: their parameters, their result, and the result that means "all is well".
const CALLBACKS: [(&str, usize, Option<i32>); 22] = [
    ("proxy_on_context_create", 2, None),
    ("proxy_on_vm_start", 2, Some(1)),
    ("proxy_on_configure", 2, Some(1)),
    ("proxy_on_request_headers", 3, Some(0)),
    ("proxy_on_request_body", 3, Some(0)),
    ("proxy_on_request_trailers", 2, Some(0)),
    ("proxy_on_response_headers", 3, Some(0)),
    ("proxy_on_response_body", 3, Some(0)),
    ("proxy_on_response_trailers", 2, Some(0)),
    ("proxy_on_http_call_response", 5, None),
    ("proxy_on_grpc_receive_initial_metadata", 3, None),
    ("proxy_on_grpc_receive", 3, None),
    ("proxy_on_grpc_receive_trailing_metadata", 3, None),
    ("proxy_on_grpc_close", 3, None),
    ("proxy_on_tick", 1, None),
    ("proxy_on_queue_ready", 2, None),
    ("proxy_on_done", 1, Some(1)),
    ("proxy_on_log", 1, None),
    ("proxy_on_delete", 1, None),
    ("_initialize", 0, None),
    ("_start", 0, None),
    ("main", 2, Some(0)),
];

/// A module with these callbacks, each a script.
pub(crate) fn scripted(callbacks: &[(&str, &str)]) -> Vec<u8> {
    scripted_with("", "", callbacks)
}

/// As [`scripted`], with further imports and further declarations in WAT.
pub(crate) fn scripted_with(imports: &str, declarations: &str, callbacks: &[(&str, &str)]) -> Vec<u8> {
    let mut texts = Texts::default();
    let mut functions = String::new();
    for (name, script) in callbacks {
        let (_, parameters, answer) = CALLBACKS.iter().find(|(known, ..)| known == name).expect("a callback");
        let parameters = "i32 ".repeat(*parameters);
        let (result, answer) = match answer {
            Some(answer) => ("(result i32)", format!("(i32.const {answer})")),
            None => ("", String::new()),
        };
        let body: String = script.lines().map(|line| texts.statement(line.trim())).collect();
        let label = name.trim_start_matches('_');
        let _infallible = writeln!(
            functions,
            r#"(func ${label} (export "{name}") (param {parameters}) {result} {body} {answer})"#
        );
    }
    let declarations = texts.placed(&format!("{REPORT} {declarations}"));
    plugin_with(imports, &format!("{declarations} {} {functions}", texts.data()))
}

/// A module with these declarations in WAT; texts in quotes stand for their two arguments.
pub(crate) fn script(declarations: &str) -> Vec<u8> {
    scripted_with("", declarations, &[])
}

/// A header map as its functions have it, as a script has it in quotes.
pub(crate) fn pairs(fields: &[(&str, &str)]) -> String {
    let number = |number: usize| format!("{}\0\0\0", char::from(u8::try_from(number).unwrap()));
    let mut written = number(fields.len());
    fields.iter().for_each(|(name, value)| written += &(number(name.len()) + &number(value.len())));
    fields.iter().for_each(|(name, value)| written += &format!("{name}\0{value}\0"));
    written.replace('\n', "\\n").replace('\r', "\\r")
}

/// The texts of a module, one behind the other.
#[derive(Default)]
struct Texts(Vec<u8>);

impl Texts {
    /// Where a text is, and its length, as two constants.
    fn pointer(&mut self, text: &str) -> String {
        let bytes = unescaped(text);
        let at = self.0.windows(bytes.len().max(1)).position(|known| known == bytes).unwrap_or_else(|| {
            self.0.extend_from_slice(&bytes);
            self.0.len() - bytes.len()
        });
        assert!(TEXTS + self.0.len() < SLOTS, "there is room for texts");
        format!("(i32.const {}) (i32.const {})", TEXTS + at, bytes.len())
    }

    fn data(&self) -> String {
        let escaped: String = self.0.iter().map(|byte| format!("\\{byte:02x}")).collect();
        format!("(data (i32.const {TEXTS}) \"{escaped}\")")
    }

    /// WAT with the places of its texts.
    fn placed(&mut self, code: &str) -> String {
        assert!(code.matches('\'').count().is_multiple_of(2), "an odd quote in {code}");
        let parts = code.split('\'').enumerate();
        parts.map(|(index, part)| if index % 2 == 0 { part.to_owned() } else { self.pointer(part) }).collect()
    }

    fn statement(&mut self, line: &str) -> String {
        if line.is_empty() || line.starts_with(['(', ')']) {
            return self.placed(line) + "\n";
        }
        let (call, outputs) = line.split_once("->").unwrap_or((line, ""));
        let words = words(call);
        let (name, arguments) = words.split_first().expect("a statement");
        let arguments: String = arguments.iter().map(|word| self.argument(word)).collect();
        match (name.text.as_str(), outputs) {
            ("text", _) => format!("(call $show {arguments}) (call $line)\n"),
            ("number", _) => format!("(call $show_number (i64.extend_i32_u {arguments})) (call $line)\n"),
            ("say" | "answer" | "field", _) => format!("(call ${} {arguments})\n", name.text),
            ("return", _) => format!("(return {arguments})\n"),
            (function, outputs) => call_of(function, &arguments, outputs),
        }
    }

    fn argument(&mut self, word: &Word) -> String {
        match word.text.strip_prefix('$') {
            _ if word.quoted => self.pointer(&word.text),
            Some(parameter) => format!("(local.get {parameter}) "),
            None if word.text.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
                match word.text.strip_suffix('L') {
                    Some(number) => format!("(i64.const {number}) "),
                    None => format!("(i32.const {}) ", word.text),
                }
            }
            None => self.pointer(&word.text),
        }
    }
}

/// A call, and what the report says of it.
fn call_of(function: &str, arguments: &str, outputs: &str) -> String {
    let (mut pointers, mut shown) = (String::new(), String::new());
    let mut slot = SLOTS;
    for output in outputs.split_whitespace() {
        let at = slot;
        slot += 8;
        let _infallible = match output {
            "bytes" => {
                slot += 8;
                let next = at + 8;
                shown += &format!("(call $show (i32.load (i32.const {at})) (i32.load (i32.const {next})))");
                write!(pointers, "(i32.const {at}) (i32.const {next})")
            }
            "u32" => {
                shown += &format!("(call $show_number (i64.load32_u (i32.const {at})))");
                write!(pointers, "(i32.const {at})")
            }
            "u64" => {
                shown += &format!("(call $show_number (i64.load (i32.const {at})))");
                write!(pointers, "(i32.const {at})")
            }
            other => panic!("no output: {other}"),
        };
    }
    // What is not written must not be what another call wrote.
    let cleared: String =
        (SLOTS..slot).step_by(8).map(|at| format!("(i64.store (i32.const {at}) (i64.const 0))")).collect();
    let separated = shown.replace(")(call", ") (call $byte (i32.const 32)) (call");
    let space = if shown.is_empty() { "" } else { "(call $byte (i32.const 32))" };
    format!(
        "{cleared} (call $show_status (call ${function} {arguments} {pointers})) {space} {separated} (call $line)\n"
    )
}

struct Word {
    text: String,
    quoted: bool,
}

/// Words, some of them in single quotes.
fn words(line: &str) -> Vec<Word> {
    let mut words = Vec::new();
    for (index, part) in line.split('\'').enumerate() {
        if index % 2 == 1 {
            words.push(Word { text: part.to_owned(), quoted: true });
        } else {
            words.extend(part.split_whitespace().map(|text| Word { text: text.to_owned(), quoted: false }));
        }
    }
    words
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, escape)) = rest.split_once('\\') {
        bytes.extend(before.as_bytes());
        let (byte, length) = match escape.as_bytes() {
            [b'0', ..] => (0, 1),
            [b'n', ..] => (b'\n', 1),
            [b'r', ..] => (b'\r', 1),
            [b'\\', ..] => (b'\\', 1),
            [b'x', ..] => (u8::from_str_radix(&escape[1..3], 16).unwrap(), 3),
            _ => panic!("an unknown escape in {text}"),
        };
        bytes.push(byte);
        rest = &escape[length..];
    }
    bytes.extend(rest.as_bytes());
    bytes
}

/// The notes of all instances so far, of which there will be `count`.
pub(crate) async fn notes(gateway: &Gateway, count: usize) -> Vec<String> {
    let so_far = || -> Vec<String> {
        let lines = gateway.logs();
        let notes = lines.iter().filter_map(|line| line.split_once("note: "));
        notes.map(|(_, note)| note.split(" filter=").next().unwrap().to_owned()).collect()
    };
    wait_until(&format!("{count} notes"), async || so_far().len() >= count).await;
    so_far()
}
