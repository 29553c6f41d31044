//! The Huffman code of strings (RFC 7541 §5.2, Appendix B).
//!
//! The code is canonical: the codes of one length are consecutive numbers in the order of their symbols, and begin
//! where those of the next shorter length end. Its lengths therefore define it, and all tables are computed from them
//! by the compiler.
//!
//! Decoding takes [`STEP_BITS`] bits a step and looks up the one or two symbols whose codes fit in them. Longer
//! codes, which are those of control characters and of octets beyond ASCII, are found by comparing with the last code
//! of each length.

use bytes::{BufMut, BytesMut};

use super::HpackError;

mod tables;
#[cfg(test)]
mod tests;

use tables::{CODES, EOS, LENGTH_MAX, LENGTHS, LONG_CODES, STEP_BITS, STEPS, SYMBOLS, Step};

/// Returns the number of bytes that a string takes coded.
pub(super) fn encoded_len(text: &[u8]) -> usize {
    let length = |byte: &u8| LENGTHS.get(usize::from(*byte)).map_or(0, |length| usize::from(*length));
    text.iter().map(length).sum::<usize>().div_ceil(8)
}

/// Appends a string, coded. It takes [`encoded_len`] bytes.
pub(super) fn encode(text: &[u8], out: &mut BytesMut) {
    let (mut bits, mut count) = (0u64, 0);
    for byte in text {
        let (code, length) = CODES.get(usize::from(*byte)).copied().unwrap_or_default();
        bits = bits << length | u64::from(code);
        count += u32::from(length);
        if count >= 32 {
            count -= 32;
            out.put_u32((bits >> count) as u32);
        }
    }
    // The padding is the begin of EOS, whose bits are ones.
    let padded = count.next_multiple_of(8);
    bits = bits << (padded - count) | ((1 << (padded - count)) - 1);
    for shift in (0..padded / 8).rev() {
        out.put_u8((bits >> (shift * 8)) as u8);
    }
}

/// Returns a bound on the number of bytes that a coded string has decoded: the shortest code has five bits.
pub(super) const fn decoded_len_max(coded_bytes: usize) -> usize {
    coded_bytes.saturating_mul(8) / 5
}

/// Decodes a string and appends it to `out`.
///
/// Fails if the string has the EOS symbol, or if its padding is longer than 7 bits or has other bits than ones. `out`
/// has then parts of the string.
pub(super) fn decode(coded: &[u8], out: &mut BytesMut) -> Result<(), HpackError> {
    let start = out.len();
    // A step writes two symbols, even if it has decoded one.
    out.resize(start + decoded_len_max(coded.len()) + 1, 0);
    let decoded = decode_into(coded, out.get_mut(start..).unwrap_or_default())?;
    out.truncate(start + decoded);
    Ok(())
}

/// Decodes a string to the begin of `out`. Returns its length.
fn decode_into(coded: &[u8], out: &mut [u8]) -> Result<usize, HpackError> {
    let mut bits = Bits { rest: coded, window: 0, count: 0 };
    let mut decoded = 0;
    loop {
        bits.refill();
        while let Some(step) = bits.step() {
            decoded += step.write(out, decoded);
            bits.take(step);
        }
        if bits.count < LENGTH_MAX && !bits.rest.is_empty() {
            continue;
        }
        let Some(step) = bits.single()? else { return Ok(decoded) };
        decoded += step.write(out, decoded);
        bits.take(step);
    }
}

/// A reader of a string's bits.
struct Bits<'a> {
    rest: &'a [u8],
    /// The next bits, from the highest. Those beyond `count` are zeros, or a part of the next byte.
    window: u64,
    count: u32,
}

impl Bits<'_> {
    /// Reads bytes until there are more than 56 bits, or none follow.
    #[inline]
    fn refill(&mut self) {
        if let Some(word) = self.rest.first_chunk() {
            self.window |= u64::from_be_bytes(*word) >> self.count;
            let bytes = (63 - self.count) / 8;
            self.rest = self.rest.get(bytes as usize..).unwrap_or_default();
            self.count += bytes * 8;
            return;
        }
        while self.count <= 56
            && let Some((byte, rest)) = self.rest.split_first()
        {
            self.window |= u64::from(*byte) << (56 - self.count);
            self.rest = rest;
            self.count += 8;
        }
    }

    /// Returns the next `count` bits as a number.
    #[inline]
    fn top(&self, count: u32) -> usize {
        (self.window >> (64 - count)) as usize
    }

    #[inline]
    fn take(&mut self, step: Step) {
        self.window <<= step.bits();
        self.count -= step.bits();
    }

    /// Decodes one or two symbols. Returns `None` if the next code is longer than a step, or too few bits have been
    /// read.
    #[inline]
    fn step(&self) -> Option<Step> {
        let step = self.next_step();
        (self.count >= STEP_BITS && !step.is_long()).then_some(step)
    }

    #[inline]
    fn next_step(&self) -> Step {
        STEPS.get(self.top(STEP_BITS)).copied().unwrap_or_default()
    }

    /// Decodes one symbol where [`Self::step`] does not: with a long code, or before the end. Returns `None` at the
    /// end.
    fn single(&self) -> Result<Option<Step>, HpackError> {
        let step = self.next_step();
        let (symbol, length) = match step.is_long() {
            true => self.long(),
            false => (u16::from(step.first_symbol()), step.first_bits()),
        };
        if length > self.count {
            return self.check_padding().map(|()| None);
        }
        match u8::try_from(symbol) {
            Ok(symbol) => Ok(Some(Step::one(symbol, length))),
            Err(_) => Err(HpackError::HuffmanEos),
        }
    }

    /// Returns the symbol whose code is longer than a step, and the length of the code.
    fn long(&self) -> (u16, u32) {
        let next = self.window >> 32;
        let Some(codes) = LONG_CODES.iter().find(|codes| next < codes.end) else { return (EOS, LENGTH_MAX) };
        let index = self.top(codes.length) - codes.first_code + codes.first_index;
        (SYMBOLS.get(index).copied().unwrap_or(EOS), codes.length)
    }

    /// Fails unless the bits left are the begin of EOS and fewer than a byte's.
    fn check_padding(&self) -> Result<(), HpackError> {
        let ones = (self.window.leading_ones()).min(self.count);
        if self.count < 8 && ones == self.count { Ok(()) } else { Err(HpackError::HuffmanPadding) }
    }
}
