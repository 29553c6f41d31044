//! Settings (RFC 9113 §6.5): what a peer asks of those who send to it.

use bytes::{BufMut, BytesMut};

use super::frame::{Code, Kind, STREAM_MAX, put_header};

/// The window of a stream until a setting or an update changes it, and that of the connection at its start (RFC 9113 §6.9.2).
pub(crate) const DEFAULT_WINDOW: u32 = 65_535;

const HEADER_TABLE_SIZE: u16 = 0x1;
const ENABLE_PUSH: u16 = 0x2;
const MAX_CONCURRENT_STREAMS: u16 = 0x3;
const INITIAL_WINDOW_SIZE: u16 = 0x4;
const MAX_FRAME_SIZE: u16 = 0x5;
const MAX_HEADER_LIST_SIZE: u16 = 0x6;
/// RFC 8441 §3.
const ENABLE_CONNECT_PROTOCOL: u16 = 0x8;

/// The number of settings in a frame. Seven are known; many more are no use but to keep us busy.
const SETTINGS_MAX: usize = 64;

/// The settings of one side, as the other has to respect them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The size in bytes of the dynamic table that headers may be encoded with (RFC 7541 §4.2).
    pub(crate) header_table: u32,
    /// True if a server may push. The gateway neither pushes nor takes pushes.
    pub(crate) push: bool,
    /// The number of streams that the receiver may have open at once; `None` is no limit.
    pub(crate) max_streams: Option<u32>,
    /// The bytes of data that a new stream may carry before an update.
    pub(crate) window: u32,
    /// The largest payload of a frame in bytes.
    pub(crate) payload_max: u32,
    /// The size of a header list that is accepted (RFC 9113 §10.5.1); advice, `None` is no limit.
    pub(crate) header_list: Option<u32>,
    /// True if CONNECT may have `:protocol` (RFC 8441).
    pub(crate) connect_protocol: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            header_table: 4096,
            push: true,
            max_streams: None,
            window: DEFAULT_WINDOW,
            payload_max: super::frame::PAYLOAD_MAX,
            header_list: None,
            connect_protocol: false,
        }
    }
}

impl Settings {
    /// Takes the settings of a frame's payload, in order. Unknown ones are ignored (RFC 9113 §6.5.2).
    ///
    /// # Errors
    /// Returns the connection error for a payload of another length than a multiple of 6, for a value that is not valid, and
    /// for more than 64 settings.
    pub(crate) fn take(&mut self, payload: &[u8]) -> Result<(), Code> {
        let (settings, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() {
            return Err(Code::FRAME_SIZE_ERROR);
        }
        if settings.len() > SETTINGS_MAX {
            return Err(Code::ENHANCE_YOUR_CALM);
        }
        for [a, b, value @ ..] in settings {
            self.set(u16::from_be_bytes([*a, *b]), u32::from_be_bytes(*value))?;
        }
        Ok(())
    }

    fn set(&mut self, setting: u16, value: u32) -> Result<(), Code> {
        match (setting, value) {
            (HEADER_TABLE_SIZE, _) => self.header_table = value,
            (ENABLE_PUSH, 0 | 1) => self.push = value == 1,
            (MAX_CONCURRENT_STREAMS, _) => self.max_streams = Some(value),
            (INITIAL_WINDOW_SIZE, 0..=STREAM_MAX) => self.window = value,
            (INITIAL_WINDOW_SIZE, _) => return Err(Code::FLOW_CONTROL_ERROR),
            (MAX_FRAME_SIZE, 0x4000..=0xff_ffff) => self.payload_max = value,
            (MAX_HEADER_LIST_SIZE, _) => self.header_list = Some(value),
            // Once allowed, it stays so (RFC 8441 §3).
            (ENABLE_CONNECT_PROTOCOL, 0) if self.connect_protocol => return Err(Code::PROTOCOL_ERROR),
            (ENABLE_CONNECT_PROTOCOL, 0 | 1) => self.connect_protocol = value == 1,
            (ENABLE_PUSH | MAX_FRAME_SIZE | ENABLE_CONNECT_PROTOCOL, _) => return Err(Code::PROTOCOL_ERROR),
            (_unknown, _) => {}
        }
        Ok(())
    }

    /// Puts a frame with the settings that differ from the defaults.
    pub(crate) fn put(&self, out: &mut BytesMut) {
        let default = Self::default();
        let all = [
            (HEADER_TABLE_SIZE, Some(self.header_table), Some(default.header_table)),
            (ENABLE_PUSH, Some(u32::from(self.push)), Some(1)),
            (MAX_CONCURRENT_STREAMS, self.max_streams, None),
            (INITIAL_WINDOW_SIZE, Some(self.window), Some(default.window)),
            (MAX_FRAME_SIZE, Some(self.payload_max), Some(default.payload_max)),
            (MAX_HEADER_LIST_SIZE, self.header_list, None),
            (ENABLE_CONNECT_PROTOCOL, Some(u32::from(self.connect_protocol)), Some(0)),
        ];
        let changed = || all.iter().filter(|(_, value, default)| value != default);
        put_header(out, Kind::Settings, 0, 0, changed().count() * 6);
        for (setting, value, _) in changed() {
            out.put_u16(*setting);
            out.put_u32(value.unwrap_or_default());
        }
    }
}

/// Returns the values of SETTINGS_HEADER_TABLE_SIZE in a frame's payload, in order.
pub(crate) fn header_tables(payload: &[u8]) -> impl Iterator<Item = u32> {
    values(payload, HEADER_TABLE_SIZE)
}

/// Returns true if a frame's payload enables pushes, which only a client may (RFC 9113 §6.5.2).
pub(crate) fn enables_push(payload: &[u8]) -> bool {
    values(payload, ENABLE_PUSH).any(|value| value == 1)
}

fn values(payload: &[u8], setting: u16) -> impl Iterator<Item = u32> {
    let (settings, _) = payload.as_chunks::<6>();
    let values = settings.iter().filter(move |[a, b, ..]| u16::from_be_bytes([*a, *b]) == setting);
    values.map(|[_, _, value @ ..]| u32::from_be_bytes(*value))
}

#[cfg(test)]
mod tests {
    use super::super::frame::{FrameHeader, HEADER_BYTES, number};
    use super::*;

    fn payload(settings: &[(u16, u32)]) -> Vec<u8> {
        settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect()
    }

    #[test]
    fn settings_are_read_as_they_are_written() {
        let settings = Settings {
            header_table: 0,
            push: false,
            max_streams: Some(0),
            window: 1,
            payload_max: 0x4001,
            header_list: Some(7),
            connect_protocol: true,
        };
        for settings in [settings, Settings::default()] {
            let mut out = BytesMut::new();
            settings.put(&mut out);
            let header = FrameHeader::parse(*out.first_chunk::<HEADER_BYTES>().unwrap());
            assert_eq!((header.kind, header.flags, header.stream), (Kind::Settings, 0, 0));
            assert_eq!(header.length as usize, out.len() - HEADER_BYTES);
            let mut read = Settings::default();
            assert_eq!(read.take(&out[HEADER_BYTES..]), Ok(()));
            assert_eq!(read, settings);
        }
    }

    #[test]
    fn invalid_settings_are_connection_errors() {
        for (settings, code) in [
            (payload(&[(2, 2)]), Code::PROTOCOL_ERROR),
            (payload(&[(4, 0x8000_0000)]), Code::FLOW_CONTROL_ERROR),
            (payload(&[(5, 0x3fff)]), Code::PROTOCOL_ERROR),
            (payload(&[(5, 0x100_0000)]), Code::PROTOCOL_ERROR),
            (payload(&[(8, 2)]), Code::PROTOCOL_ERROR),
            (payload(&[(8, 1), (8, 0)]), Code::PROTOCOL_ERROR),
            (vec![0; 5], Code::FRAME_SIZE_ERROR),
            (payload(&[(99, 1); 65]), Code::ENHANCE_YOUR_CALM),
        ] {
            assert_eq!(Settings::default().take(&settings), Err(code), "{settings:?}");
        }
    }

    #[test]
    fn unknown_settings_are_ignored_and_the_last_value_holds() {
        let mut settings = Settings::default();
        assert_eq!(settings.take(&payload(&[(99, 1), (4, 1), (4, 2)])), Ok(()));
        assert_eq!(settings, Settings { window: 2, ..Settings::default() });
        assert_eq!(number(&[0, 0, 1, 2, 3], 1), Some(0x10203));
    }
}
