//! The spans in a message of OTLP, read by the numbers of its fields and not by the gateway's own types.

use std::collections::BTreeMap;

/// A span as a receiver gets it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Span {
    pub(crate) trace_id: String,
    pub(crate) id: String,
    pub(crate) parent: String,
    pub(crate) state: String,
    pub(crate) flags: u64,
    pub(crate) name: String,
    /// 1 is internal, 2 a server's, 3 a client's.
    pub(crate) kind: u64,
    pub(crate) began: u64,
    pub(crate) ended: u64,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) is_failed: bool,
    /// The attributes of the program that sent it.
    pub(crate) resource: BTreeMap<String, String>,
}

/// A field of a message: its number, and its value as a number or as bytes.
struct Field<'a> {
    number: u64,
    value: u64,
    bytes: &'a [u8],
}

impl Span {
    pub(crate) fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("-", String::as_str)
    }

    pub(crate) fn lasts(&self, other: &Self) -> bool {
        self.began <= other.began && other.ended <= self.ended
    }
}

/// Returns the spans of an `ExportTraceServiceRequest`.
pub(crate) fn spans(message: &[u8]) -> Vec<Span> {
    let mut spans = Vec::new();
    for resource_spans in inner(message, 1) {
        let resource = inner(resource_spans, 1).first().map(|resource| attributes(resource, 1));
        for scope_spans in inner(resource_spans, 2) {
            for message in inner(scope_spans, 2) {
                spans.push(span(message, resource.clone().unwrap_or_default()));
            }
        }
    }
    spans
}

fn span(message: &[u8], resource: BTreeMap<String, String>) -> Span {
    let fields = fields(message);
    let find = |number: u64| fields.iter().find(|field| field.number == number);
    let hex = |number: u64| -> String {
        find(number)
            .map(|field| field.bytes.iter().map(|byte| format!("{byte:02x}")).collect())
            .unwrap_or_default()
    };
    let text = |number: u64| find(number).map(|field| text(field.bytes)).unwrap_or_default();
    let value = |number: u64| find(number).map_or(0, |field| field.value);
    let status = find(15).map(|status| self::fields(status.bytes));
    Span {
        trace_id: hex(1),
        id: hex(2),
        parent: hex(4),
        state: text(3),
        flags: value(16),
        name: text(5),
        kind: value(6),
        began: value(7),
        ended: value(8),
        attributes: attributes(message, 9),
        is_failed: status.iter().flatten().any(|field| field.number == 3 && field.value == 2),
        resource,
    }
}

/// Returns the attributes in the fields of this number.
fn attributes(message: &[u8], number: u64) -> BTreeMap<String, String> {
    let pair = |pair: &[u8]| {
        let key = text(inner(pair, 1)[0]);
        let value = fields(inner(pair, 2)[0]);
        let value = match &value[0] {
            Field { number: 1, bytes, .. } => text(bytes),
            Field { number: 2, value, .. } => (*value == 1).to_string(),
            Field { value, .. } => value.to_string(),
        };
        (key, value)
    };
    inner(message, number).into_iter().map(pair).collect()
}

fn inner(message: &[u8], number: u64) -> Vec<&[u8]> {
    fields(message).into_iter().filter(|field| field.number == number).map(|field| field.bytes).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Returns the fields of a message (Protocol Buffers, "Encoding").
fn fields(mut message: &[u8]) -> Vec<Field<'_>> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        let (mut value, mut bytes) = (0, &[][..]);
        match tag & 7 {
            0 => value = varint(&mut message),
            1 => value = u64::from_le_bytes(take(&mut message, 8).try_into().unwrap()),
            2 => {
                let length = varint(&mut message);
                bytes = take(&mut message, usize::try_from(length).unwrap());
            }
            5 => value = u32::from_le_bytes(take(&mut message, 4).try_into().unwrap()).into(),
            other => panic!("wire type {other}"),
        }
        fields.push(Field { number: tag >> 3, value, bytes });
    }
    fields
}

fn varint(message: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(message, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
    }
    panic!("a number of more than 64 bits")
}

fn take<'a>(message: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = message.split_at(count);
    *message = rest;
    taken
}
