//! The tables of the Huffman code, computed from the lengths of its codes (RFC 7541 Appendix B).
#![allow(
    clippy::indexing_slicing,
    reason = "the compiler evaluates this file's functions, and reports any panic as an error"
)]

/// The symbol that ends no string, but whose first bits pad them (RFC 7541 §5.2).
pub(super) const EOS: u16 = 256;

/// The length of the longest code.
pub(super) const LENGTH_MAX: u32 = 30;

/// The bits that decoding takes in one step. Two of the most frequent characters (5 or 6 bits) fit. The table has 16
/// KiB. With 11 bits, decoding takes a third longer; with 13, it gains less than a tenth.
pub(super) const STEP_BITS: u32 = 12;

const STEP_COUNT: usize = 1 << STEP_BITS;
const SYMBOL_COUNT: usize = EOS as usize + 1;

/// The length of each symbol's code in bits.
#[rustfmt::skip]
pub(super) static LENGTHS: [u8; SYMBOL_COUNT] = LENGTHS_CONST;
const LENGTHS_CONST: [u8; SYMBOL_COUNT] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7,
    8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7,
    15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24,
    23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26,
    26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20,
    21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26, 30,
];

/// The symbols in the order of their codes.
pub(super) static SYMBOLS: [u16; SYMBOL_COUNT] = SYMBOLS_CONST;
const SYMBOLS_CONST: [u16; SYMBOL_COUNT] = symbols();

/// The code of each octet, and its length.
pub(super) static CODES: [(u32, u8); 256] = codes();

/// The symbols whose codes fit in the next bits, at the index that these bits are as a number.
pub(super) static STEPS: [Step; STEP_COUNT] = steps();

/// The codes longer than a step, from the shortest.
pub(super) static LONG_CODES: [LongCodes; (LENGTH_MAX - STEP_BITS) as usize] = long_codes();

/// The result of a decoding step: one or two symbols, or none if the code of the first is longer. It is one number,
/// whose lowest bits are what the next step waits for: the number of bits to take.
///
/// | bits | content |
/// |---|---|
/// | 0–7 | the length of all codes together; 0 if there is none |
/// | 8–12 | the length of the first code |
/// | 13–15 | the number of symbols |
/// | 16–31 | the symbols, the first one lowest |
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Step(u32);

impl Step {
    pub(super) const fn one(symbol: u8, bits: u32) -> Self {
        Self((symbol as u32) << 16 | 1 << 13 | bits << 8 | bits)
    }

    const fn two(first: Self, second: Self) -> Self {
        let symbols = (second.first_symbol() as u32) << 24 | (first.first_symbol() as u32) << 16;
        Self(symbols | 2 << 13 | first.bits() << 8 | (first.bits() + second.bits()))
    }

    /// Returns true if the code of the next symbol is longer than a step.
    pub(super) const fn is_long(self) -> bool {
        self.0 == 0
    }

    /// Returns the length of all codes together.
    #[inline]
    pub(super) const fn bits(self) -> u32 {
        self.0 & 0xff
    }

    pub(super) const fn first_bits(self) -> u32 {
        self.0 >> 8 & 0x1f
    }

    pub(super) const fn first_symbol(self) -> u8 {
        (self.0 >> 16) as u8
    }

    /// Writes the symbols to `out` at `index`, and returns their number. Two bytes are written in any case.
    #[inline]
    pub(super) fn write(self, out: &mut [u8], index: usize) -> usize {
        if let Some(place) = out.get_mut(index..index + 2) {
            place.copy_from_slice(&((self.0 >> 16) as u16).to_le_bytes());
        }
        (self.0 >> 13 & 7) as usize
    }
}

/// The codes of one length.
#[derive(Debug, Clone, Copy)]
pub(super) struct LongCodes {
    /// The first number behind the codes, if codes are continued with zeros to 32 bits.
    pub(super) end: u64,
    pub(super) length: u32,
    pub(super) first_code: usize,
    /// The index of the first code's symbol in [`SYMBOLS`].
    pub(super) first_index: usize,
}

const fn symbols() -> [u16; SYMBOL_COUNT] {
    let mut symbols = [0; SYMBOL_COUNT];
    let (mut index, mut length) = (0, 1);
    while length <= LENGTH_MAX {
        let mut symbol = 0;
        while symbol < SYMBOL_COUNT {
            if LENGTHS_CONST[symbol] as u32 == length {
                symbols[index] = symbol as u16;
                index += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    symbols
}

/// Returns the number of codes with this length.
const fn count(length: u32) -> usize {
    let (mut count, mut symbol) = (0, 0);
    while symbol < SYMBOL_COUNT {
        count += (LENGTHS_CONST[symbol] as u32 == length) as usize;
        symbol += 1;
    }
    count
}

const fn codes() -> [(u32, u8); 256] {
    let mut codes = [(0, 0); 256];
    let (mut index, mut code, mut length) = (0, 0, 0);
    while index < SYMBOL_COUNT {
        let symbol = SYMBOLS_CONST[index] as usize;
        code <<= LENGTHS_CONST[symbol] - length;
        length = LENGTHS_CONST[symbol];
        if symbol < 256 {
            codes[symbol] = (code, length);
        }
        code += 1;
        index += 1;
    }
    codes
}

const fn steps() -> [Step; STEP_COUNT] {
    let singles = single_steps();
    let mut steps = singles;
    let mut index = 0;
    while index < STEP_COUNT {
        let first = singles[index];
        let second = singles[(index << first.bits()) % STEP_COUNT];
        if !first.is_long() && !second.is_long() && first.bits() + second.bits() <= STEP_BITS {
            steps[index] = Step::two(first, second);
        }
        index += 1;
    }
    steps
}

/// Returns the steps of one symbol. The codes follow each other, so their steps do, too.
const fn single_steps() -> [Step; STEP_COUNT] {
    let mut steps = [Step(0); STEP_COUNT];
    let (mut index, mut step) = (0, 0);
    while step < STEP_COUNT {
        let symbol = SYMBOLS_CONST[index];
        let length = LENGTHS_CONST[symbol as usize] as u32;
        if length > STEP_BITS {
            break;
        }
        let end = step + (1 << (STEP_BITS - length));
        while step < end {
            steps[step] = Step::one(symbol as u8, length);
            step += 1;
        }
        index += 1;
    }
    steps
}

const fn long_codes() -> [LongCodes; (LENGTH_MAX - STEP_BITS) as usize] {
    let mut all =
        [LongCodes { end: 0, length: 0, first_code: 0, first_index: 0 }; (LENGTH_MAX - STEP_BITS) as usize];
    let (mut first_code, mut first_index, mut length) = (0, 0, 1);
    while length <= LENGTH_MAX {
        let count = count(length);
        first_code <<= 1;
        if length > STEP_BITS {
            let end = ((first_code + count) as u64) << (32 - length);
            all[(length - STEP_BITS - 1) as usize] = LongCodes { end, length, first_code, first_index };
        }
        first_code += count;
        first_index += count;
        length += 1;
    }
    all
}
