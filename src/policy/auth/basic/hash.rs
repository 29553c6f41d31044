//! Password hashes: bcrypt, argon2 and sha-crypt, as htpasswd files have them.

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;

/// The most bytes of a password. The time of sha-crypt grows with their square; libxcrypt has the same limit.
pub(super) const PASSWORD_BYTES_MAX: usize = 512;

/// The bytes of a password that bcrypt reads, the NUL behind it included.
const BCRYPT_BYTES_MAX: usize = 72;

/// The largest cost of bcrypt: some five seconds.
const BCRYPT_COST_MAX: u32 = 16;

/// The most rounds of sha-crypt: some five seconds.
const ROUNDS_MAX: u32 = 10_000_000;

/// The rounds of sha-crypt if a hash names none.
const ROUNDS_DEFAULT: u32 = 5000;

/// The bytes of a salt that sha-crypt reads.
const SHA_CRYPT_SALT_BYTES_MAX: usize = 16;

/// The most memory of argon2, in KiB. Each thread that computes hashes takes so much.
const ARGON2_MEMORY_MAX: u32 = 512 << 10;

/// The most memory that one computation with argon2 writes over all its passes, in KiB: some five seconds.
const ARGON2_WORK_MAX: u64 = 10_000_000;

/// The alphabets of the three encodings, each letter at its value.
const BCRYPT_ALPHABET: &[u8; 64] = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const PHC_ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const CRYPT_ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A hash that passwords are compared with.
pub(super) enum Hash {
    Bcrypt { cost: u32, salt: [u8; 16], digest: Vec<u8> },
    Argon2 { argon2: Box<Argon2<'static>>, salt: Vec<u8>, digest: Vec<u8> },
    ShaCrypt { sha: Sha, rounds: u32, salt: Vec<u8>, digest: Vec<u8> },
}

#[derive(Clone, Copy)]
pub(super) enum Sha {
    Sha256,
    Sha512,
}

impl Hash {
    /// Parses a hash.
    ///
    /// # Errors
    /// The reason for which it cannot be used. It shows nothing of the hash.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let kind = text.strip_prefix('$').and_then(|rest| rest.split_once('$'));
        match kind {
            Some(("2y" | "2a" | "2b", rest)) => bcrypt(rest),
            Some(("2" | "2x", _)) => Err("is of a faulty kind of bcrypt"),
            Some(("argon2id", rest)) => argon2(Algorithm::Argon2id, rest),
            Some(("argon2i", rest)) => argon2(Algorithm::Argon2i, rest),
            Some(("argon2d", _)) => Err("is of argon2d, which its own timing reveals"),
            Some(("5", rest)) => sha_crypt(Sha::Sha256, rest),
            Some(("6", rest)) => sha_crypt(Sha::Sha512, rest),
            Some(("apr1" | "1", _)) => Err("is of MD5, of which a machine tries millions a second"),
            Some(("y" | "gy" | "7", _)) => Err("is of yescrypt or scrypt, which this program does not know"),
            Some(_) => Err("is of no known kind"),
            None => Err(without_kind(text)),
        }
    }

    /// Returns true if `password` has this hash. It takes the time for which hashes are made.
    pub(super) fn is_of(&self, password: &[u8]) -> bool {
        if password.len() > PASSWORD_BYTES_MAX {
            return false;
        }
        match self {
            Self::Bcrypt { cost, salt, digest } => {
                let mut key = [password, &[0]].concat();
                key.truncate(BCRYPT_BYTES_MAX);
                let computed = bcrypt::bcrypt(*cost, *salt, &key);
                is_equal(computed.get(..digest.len()), digest)
            }
            Self::Argon2 { argon2, salt, digest } => {
                let mut computed = vec![0; digest.len()];
                argon2.hash_password_into(password, salt, &mut computed).is_ok()
                    && is_equal(Some(&computed), digest)
            }
            Self::ShaCrypt { sha, rounds, salt, digest } => {
                let Ok(params) = sha_crypt::Params::new(*rounds) else { return false };
                let computed = match sha {
                    Sha::Sha256 => sha.encode(&sha_crypt::sha256_crypt(password, salt, params)),
                    Sha::Sha512 => sha.encode(&sha_crypt::sha512_crypt(password, salt, params)),
                };
                is_equal(Some(&computed), digest)
            }
        }
    }

    /// Returns the estimated time of a computation, in nanoseconds, for comparisons between kinds.
    pub(super) fn cost(&self) -> u64 {
        match self {
            Self::Bcrypt { cost, .. } => 60_000 << (*cost).min(BCRYPT_COST_MAX),
            Self::Argon2 { argon2, .. } => {
                500 * u64::from(argon2.params().m_cost()) * u64::from(argon2.params().t_cost())
            }
            Self::ShaCrypt { rounds, .. } => 500 * u64::from(*rounds),
        }
    }
}

fn is_equal(computed: Option<&[u8]>, expected: &[u8]) -> bool {
    computed.is_some_and(|computed| verify_slices_are_equal(computed, expected).is_ok())
}

/// Describes a hash that does not name its kind.
fn without_kind(text: &str) -> &'static str {
    let is_crypt = |text: &str| text.bytes().all(|byte| CRYPT_ALPHABET.contains(&byte));
    match text {
        "" => "is empty",
        _ if text.starts_with("{SHA}") || text.starts_with("{SSHA}") => {
            "is of SHA-1, of which a machine tries billions a second"
        }
        _ if text.len() == 13 && is_crypt(text) => {
            "is of DES, which reads eight characters of a password, or no hash"
        }
        _ => "is no hash",
    }
}

const DAMAGED: &str = "is damaged";

/// Parses `COST$SALT DIGEST`, without the space: 22 and 31 letters.
fn bcrypt(text: &str) -> Result<Hash, &'static str> {
    let (cost, rest) = text.split_once('$').ok_or(DAMAGED)?;
    let cost = decimal(cost).filter(|_| cost.len() == 2).ok_or(DAMAGED)?;
    if !(4..=BCRYPT_COST_MAX).contains(&cost) {
        return Err("has a cost of bcrypt that is not between 4 and 16");
    }
    let (salt, digest) = rest.split_at_checked(22).filter(|(_, digest)| digest.len() == 31).ok_or(DAMAGED)?;
    let salt = decode(salt, BCRYPT_ALPHABET).and_then(|salt| salt.try_into().ok()).ok_or(DAMAGED)?;
    Ok(Hash::Bcrypt { cost, salt, digest: decode(digest, BCRYPT_ALPHABET).ok_or(DAMAGED)? })
}

/// Parses `v=19$m=65536,t=3,p=4$SALT$DIGEST` (the PHC string format). Without `v` the version is 1.0.
fn argon2(algorithm: Algorithm, text: &str) -> Result<Hash, &'static str> {
    let (version, text) = match text.strip_prefix("v=").and_then(|text| text.split_once('$')) {
        None => (Version::V0x10, text),
        Some(("16", text)) => (Version::V0x10, text),
        Some(("19", text)) => (Version::V0x13, text),
        Some(_) => return Err("is of an unknown version of argon2"),
    };
    let mut parts = text.split('$');
    let (Some(costs), Some(salt), Some(digest), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(DAMAGED);
    };
    let mut costs = costs.split(',');
    let mut next = |name: &str| decimal(costs.next()?.strip_prefix(name)?.strip_prefix('=')?);
    let (Some(memory), Some(passes), Some(lanes)) = (next("m"), next("t"), next("p")) else {
        return Err(DAMAGED);
    };
    if costs.next().is_some() {
        return Err("has parameters of argon2 other than `m`, `t` and `p`");
    }
    if memory > ARGON2_MEMORY_MAX || u64::from(memory) * u64::from(passes) > ARGON2_WORK_MAX {
        return Err("takes more than 512 MiB of memory, or some five seconds");
    }
    let salt = decode(salt, PHC_ALPHABET).filter(|salt| salt.len() >= argon2::MIN_SALT_LEN).ok_or(DAMAGED)?;
    let digest = decode(digest, PHC_ALPHABET).filter(|digest| (16..=64).contains(&digest.len()));
    let digest = digest.ok_or(DAMAGED)?;
    let params = Params::new(memory, passes, lanes, Some(digest.len())).map_err(|_| DAMAGED)?;
    Ok(Hash::Argon2 { argon2: Box::new(Argon2::new(algorithm, version, params)), salt, digest })
}

/// Parses `rounds=5000$SALT$DIGEST`, or without the rounds.
fn sha_crypt(sha: Sha, text: &str) -> Result<Hash, &'static str> {
    let (rounds, text) = match text.strip_prefix("rounds=") {
        None => (ROUNDS_DEFAULT, text),
        Some(text) => {
            let (rounds, text) = text.split_once('$').ok_or(DAMAGED)?;
            (decimal(rounds).ok_or(DAMAGED)?, text)
        }
    };
    if !(sha_crypt::Params::ROUNDS_MIN..=ROUNDS_MAX).contains(&rounds) {
        return Err("has fewer than 1000 rounds of sha-crypt, or more than 10000000");
    }
    let (salt, digest) = text.split_once('$').ok_or(DAMAGED)?;
    let is_whole = digest.len() == sha.letters() && digest.bytes().all(|byte| CRYPT_ALPHABET.contains(&byte));
    if !is_whole || salt.len() > SHA_CRYPT_SALT_BYTES_MAX {
        return Err(DAMAGED);
    }
    Ok(Hash::ShaCrypt { sha, rounds, salt: salt.into(), digest: digest.into() })
}

impl Sha {
    /// Returns the length of an encoded digest.
    fn letters(self) -> usize {
        match self {
            Self::Sha256 => 43,
            Self::Sha512 => 86,
        }
    }

    /// Encodes a digest: three bytes from three thirds of it make four letters, the lowest six bits first. Each group begins one
    /// byte later than the one before it, in the next third.
    fn encode(self, digest: &[u8]) -> Vec<u8> {
        let third = digest.len() / 3;
        let mut at = [0, third, 2 * third];
        let mut text = Vec::with_capacity(digest.len() * 4 / 3 + 4);
        let byte = |at: usize| u32::from(digest.get(at).copied().unwrap_or_default());
        for _ in 0..third {
            push(byte(at[0]) << 16 | byte(at[1]) << 8 | byte(at[2]), 4, &mut text);
            let [a, b, c] = at.map(|at| at + 1);
            at = match self {
                Self::Sha256 => [c, a, b],
                Self::Sha512 => [b, c, a],
            };
        }
        match self {
            Self::Sha256 => push(byte(31) << 8 | byte(30), 3, &mut text),
            Self::Sha512 => push(byte(63), 2, &mut text),
        }
        text
    }
}

fn push(bits: u32, letters: u32, text: &mut Vec<u8>) {
    let letter = |at: u32| CRYPT_ALPHABET.get((bits >> (6 * at) & 63) as usize).copied().unwrap_or_default();
    text.extend((0..letters).map(letter));
}

/// Decodes letters of six bits, the highest first. Bits beyond the last whole byte are dropped.
fn decode(text: &str, alphabet: &[u8; 64]) -> Option<Vec<u8>> {
    let (mut bits, mut count) = (0_u32, 0);
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    for letter in text.bytes() {
        let value = alphabet.iter().position(|known| *known == letter)?;
        bits = bits << 6 | u32::try_from(value).ok()?;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    Some(bytes)
}

fn decimal(text: &str) -> Option<u32> {
    let is_decimal = (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_decimal { text.parse().ok() } else { None }
}
