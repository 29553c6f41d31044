//! Hashes that other programs have made, files, and comparisons.

use std::fmt::Write as _;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::hash::Hash;
use super::verifier::{Busy, MISMATCH_AGE_MAX};
use super::*;

/// Hashes by libxcrypt, by the reference implementation of argon2 and by Apache's htpasswd, with their passwords.
const HASHES: &[(&str, &str)] = &[
    ("open sesame", "$2y$04$NbHAbOP6rn8d9dO8vkm3qusBqrp1TUQwXZhe9/L4gryMVd57pGVGe"),
    ("open sesame", "$2a$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy"),
    ("p\u{e4}ss", "$2b$04$abcdefghijklmnopqrstuuF7KK/SfP9IRGj0pPJMr8GdtCS8xpmpC"),
    ("", "$2y$04$abcdefghijklmnopqrstuubyCG3zY1GIXMyxfivm.ClDiInHzxjiq"),
    (
        "open sesame",
        "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHRzYWx0$UzcBQkaduvJ7uUYyN2jbEFaE4rnRP7xDE+Wt03iShyo",
    ),
    ("open sesame", "$argon2i$v=19$m=64,t=3,p=2$c29tZXNhbHRzYWx0$ThY7g0jcKaVRgBj0bHGimzBX+fmir3PG"),
    (
        "open sesame",
        "$argon2id$v=16$m=64,t=2,p=1$c29tZXNhbHRzYWx0$KYo+gX50L2RSnUF8uTw+M4AcewyKhWOzomYiWSJ6ZJs",
    ),
    ("x", "$5$abc$sCOGUciM.GdmYMCUvmUcgu03oRH87O0clF96.9mwWGB"),
    ("x", "$5$U6wifRkEVbvAfCQm$kRYEOWk5YkTQ/y7Hb837CRDZm/vtw/CBxE.kmdAApVC"),
    (
        "open sesame",
        "$6$rounds=1000$roundy$dtNRExK2IRGLtG3uvmMq72NojYuDfDbzx7Vix9xwTvTNxMVzPy1KXXJ8abgdyoSzpK97LUskCOCLOeZfDe0WV1",
    ),
    (
        "open sesame",
        "$6$$4zlx1NIONqna0ihYk1rgEaulDZJqKOn4wso0fmBaOQCFNnMqMmW/2.iWXrcVUW/mEO7.l0bFbBdddl.mPWe7o0",
    ),
];

/// The hash of 80 and of 200 letters: bcrypt reads 72 of them, and sha-crypt all.
const LONG: &[(&str, usize, &str)] = &[
    ("a", 80, "$2y$04$abcdefghijklmnopqrstuuBzzIgyKkz7xMWYSzkIjUSnxEQFQ0WNe"),
    (
        "x",
        200,
        "$6$0123456789abcdef$Rru0YcJdWAfylTzYkMBaHfdgEjT2jeUewuTfATTJEn/Inu1Ma3JNgneCwDVl2NaWmkgDKZzdSV8VisQ10exaF.",
    ),
    ("x", 200, "$5$rounds=1234$0123456789abcdef$NMJXa5OHmWD2X9NaLIq9jGPXONgrkXyJt1YSHUpJTND"),
];

#[test]
fn hash_of_another_program_matches_its_password_alone() {
    let long = LONG.iter().map(|(letter, times, hash)| (letter.repeat(*times), *hash));
    for (password, text) in HASHES.iter().map(|(password, hash)| ((*password).to_owned(), *hash)).chain(long)
    {
        let hash = Hash::parse(text).unwrap_or_else(|reason| panic!("{text}: {reason}"));
        assert!(hash.is_of(password.as_bytes()), "{text}");
        assert!(!hash.is_of(format!("x{password}").as_bytes()), "{text}");
        assert!(!hash.is_of(&b"p".repeat(513)), "{text}");
    }
}

#[test]
fn damaged_hash_is_refused_and_never_matches() {
    for (password, text) in HASHES {
        for cut in 0..text.len() {
            let cut = text.get(..cut).unwrap();
            if let Ok(hash) = Hash::parse(cut) {
                assert!(!hash.is_of(password.as_bytes()), "{cut}");
            }
        }
        assert!(Hash::parse(&format!("{text}A")).is_err() || text.starts_with("$argon2"), "{text}");
    }
}

#[test]
fn hash_that_is_weak_or_too_costly_is_refused_with_the_reason() {
    for (text, expected) in [
        ("$apr1$epQ6zfP/$8kypF.SvHcMzfuKE1sMsD/", "MD5"),
        ("$1$epQ6zfP/$8kypF.SvHcMzfuKE1sMsD/", "MD5"),
        ("{SHA}EfatjsUqKYSrqv18O1FlA3hcIHI=", "SHA-1"),
        ("{SSHA}EfatjsUqKYSrqv18O1FlA3hcIHI=", "SHA-1"),
        ("5ccHTMJ2DeHmQ", "DES"),
        ("plain text", "is no hash"),
        ("{PLAIN}x", "is no hash"),
        ("", "is empty"),
        ("$y$j9T$salt$NneOCo6fmVy5/hoXxiGz4R6rrxBZUTXv4oi35IMCx.1", "yescrypt"),
        ("$2x$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy", "faulty"),
        ("$2y$17$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy", "cost"),
        ("$2y$03$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy", "cost"),
        (
            "$argon2d$v=19$m=64,t=2,p=1$c29tZXNhbHRzYWx0$UzcBQkaduvJ7uUYyN2jbEFaE4rnRP7xDE+Wt03iShyo",
            "argon2d",
        ),
        ("$argon2id$v=19$m=9999999,t=2,p=1$c29tZXNhbHRzYWx0$UzcBQkaduvJ7uUYyN2jbEA", "512 MiB"),
        ("$argon2id$v=20$m=64,t=2,p=1$c29tZXNhbHRzYWx0$UzcBQkaduvJ7uUYyN2jbEA", "version"),
        ("$argon2id$v=19$m=64,t=2,p=1,data=x$c29tZXNhbHRzYWx0$UzcBQkaduvJ7uUYyN2jbEA", "other than"),
        ("$argon2id$v=19$m=64,t=0,p=1$c29tZXNhbHRzYWx0$UzcBQkaduvJ7uUYyN2jbEA", "damaged"),
        ("$argon2id$v=19$m=64,t=2,p=1$c2E$UzcBQkaduvJ7uUYyN2jbEA", "damaged"),
        ("$6$rounds=999$roundy$x", "rounds"),
        ("$6$rounds=99999999$roundy$x", "rounds"),
        ("$6$saltsalt$tooshort", "damaged"),
        ("$z$x", "no known kind"),
    ] {
        let reason = Hash::parse(text).err().unwrap_or_else(|| panic!("{text}"));
        assert!(reason.contains(expected), "{text}: {reason}");
    }
}

fn users(lines: &[&str]) -> Users {
    Users::parse(&"ops".into(), lines.join("\n").as_bytes()).unwrap()
}

fn line(name: &str, hash: usize) -> String {
    format!("{name}:{}", HASHES[hash].1)
}

#[test]
fn file_is_read_as_other_servers_read_it() {
    let text = format!("\u{feff}# who\r\n\r\n{}\r\n  {}:a comment\n\n", line("ann", 0), line("b\u{f6}b", 4));
    let users = Users::parse(&"ops".into(), text.as_bytes()).unwrap();
    assert!(
        users.find("ann").is_some_and(|(entry, identity)| identity.is_some() && entry.text() == HASHES[0].1)
    );
    assert!(users.find("b\u{f6}b").is_some_and(|(_, identity)| &*identity.unwrap().subject == "b\u{f6}b"));
    let (costliest, identity) = users.find("carl").unwrap();
    assert!(
        identity.is_none() && costliest.text() == HASHES[0].1,
        "bcrypt takes longer than 64 KiB of argon2"
    );
    assert!(Users::parse(&"ops".into(), b"").unwrap().find("ann").is_none());
}

#[test]
fn all_lines_that_cannot_be_used_are_reported_without_their_content() {
    let text = [
        line("ann", 0).as_str(),
        "bob:$apr1$epQ6zfP/$8kypF.SvHcMzfuKE1sMsD/",
        "no colon",
        ":x",
        line("ann", 1).as_str(),
        "dora:hunter2",
    ]
    .join("\n");
    let invalid = Users::parse(&"ops".into(), &[text.as_bytes(), b"\n\xff:x"].concat()).unwrap_err();
    assert_eq!(invalid.iter().map(|invalid| invalid.line).collect::<Vec<_>>(), [2, 3, 4, 5, 6, 7]);
    let shown = invalid.iter().fold(String::new(), |mut shown, invalid| {
        let _infallible = write!(shown, "{invalid:?}");
        shown
    });
    for secret in ["epQ6zfP", "hunter2", "8kypF", "bob", "ann", "dora"] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
    assert!(shown.contains("another entry in line 1") && shown.contains("htpasswd -B"));
}

#[test]
fn challenge_quotes_the_realm_and_nothing_shows_a_hash() {
    let basic = Basic::new(users(&[&line("ann", 0)]), r#"a "b" \c"#, Duration::ZERO).unwrap();
    assert_eq!(basic.challenge(), r#"Basic realm="a \"b\" \\c", charset="UTF-8""#);
    let shown = format!("{basic:?}");
    assert!(!shown.contains("NbHAbOP6"), "{shown}");
}

/// A verifier whose threads compute as soon as they are asked, and the users of two entries.
struct Fixture {
    verifier: Arc<Verifier>,
    users: Users,
}

impl Fixture {
    fn new(threads: usize) -> Self {
        let users = users(&[&line("ann", 0), &line("bob", 9)]);
        Self { verifier: Arc::new(Verifier::new(threads).unwrap()), users }
    }

    fn compare<'a>(
        &'a self,
        user: &'a str,
        password: &'a str,
    ) -> impl Future<Output = Result<bool, Busy>> + 'a {
        self.compare_for(user, password, Duration::from_secs(60))
    }

    async fn compare_for(&self, user: &str, password: &str, match_age_max: Duration) -> Result<bool, Busy> {
        let (entry, identity) = self.users.find(user).unwrap();
        let (password, is_known) = (password.as_bytes(), identity.is_some());
        self.verifier.compare(Comparison { user, password, entry, is_known, match_age_max }).await
    }
}

/// Polls a future once.
fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn user_is_known_by_the_password_of_the_own_entry_alone() {
    let fixture = Fixture::new(2);
    assert_eq!(fixture.compare("ann", "open sesame").await, Ok(true));
    assert_eq!(fixture.compare("bob", "open sesame").await, Ok(true));
    assert_eq!(fixture.compare("ann", "open sesam").await, Ok(false));
    assert_eq!(fixture.compare("bob", "").await, Ok(false));
    // An unknown user is compared with the costliest entry, and its password does not help.
    assert_eq!(fixture.compare("carl", "open sesame").await, Ok(false));
    assert_eq!(fixture.verifier.computed(), 5);
}

#[tokio::test]
async fn equal_requests_share_a_computation_and_later_ones_its_result() {
    let fixture = Fixture::new(2);
    let mut storm: Vec<_> = (0..100).map(|_| Box::pin(fixture.compare("ann", "open sesame"))).collect();
    for request in &mut storm {
        // Some may find the result already.
        let _begun = poll(request.as_mut()).map(|result| assert_eq!(result, Ok(true)));
    }
    let fresh = fixture.compare("ann", "open sesame").await;
    assert_eq!((fresh, fixture.verifier.computed()), (Ok(true), 1));
    assert_eq!(fixture.compare("ann", "open sesame").await, Ok(true));
    assert_eq!(fixture.compare("ann", "wrong").await, Ok(false));
    assert_eq!(fixture.compare("ann", "wrong").await, Ok(false));
    assert_eq!(fixture.verifier.computed(), 2);
    // Without a cache, a match counts for no later request.
    assert_eq!(fixture.compare_for("ann", "open sesame", Duration::ZERO).await, Ok(true));
    assert_eq!(fixture.verifier.computed(), 3);
}

#[tokio::test]
async fn computation_that_no_request_awaits_any_more_is_left_out() {
    let fixture = Fixture::new(0);
    {
        let mut abandoned = pin!(fixture.compare("ann", "open sesame"));
        assert!(poll(abandoned.as_mut()).is_pending());
    }
    let mut kept = pin!(fixture.compare("bob", "open sesame"));
    assert!(poll(kept.as_mut()).is_pending());
    fixture.verifier.run_queued();
    assert_eq!((kept.await, fixture.verifier.computed()), (Ok(true), 1));
}

#[tokio::test(start_paused = true)]
async fn request_is_refused_if_too_many_wait_or_it_waits_too_long() {
    let fixture = Fixture::new(0);
    let passwords: Vec<String> = (0..256).map(|number| format!("guess {number}")).collect();
    let mut waiting: Vec<_> =
        passwords.iter().map(|password| Box::pin(fixture.compare("ann", password))).collect();
    for request in &mut waiting {
        assert!(poll(request.as_mut()).is_pending());
    }
    assert_eq!(fixture.compare("ann", "one more").await, Err(Busy));
    // An equal one needs no place in the queue.
    let mut equal = pin!(fixture.compare("ann", "guess 7"));
    assert!(poll(equal.as_mut()).is_pending());
    let first = waiting.remove(0);
    assert_eq!(first.await, Err(Busy), "after five seconds");
}

#[test]
fn mismatches_are_forgotten_before_matches() {
    use super::cache::{Seen, Shard};
    let mut shard = Shard::default();
    let key = |number: u32| {
        let mut key = [0; 32];
        key.iter_mut().zip(number.to_be_bytes()).for_each(|(to, from)| *to = from);
        key
    };
    shard.finish(key(0), true);
    for number in 1..10_000 {
        shard.finish(key(number), false);
    }
    assert_eq!(shard.len(), 65, "64 mismatches, however many there were");
    let hour = Duration::from_secs(3600);
    assert!(matches!(shard.see(&key(0), hour, MISMATCH_AGE_MAX), Seen::Done(true)));
    assert!(matches!(shard.see(&key(9_999), hour, MISMATCH_AGE_MAX), Seen::Done(false)));
    assert!(matches!(shard.see(&key(9_999), hour, Duration::ZERO), Seen::Missing));
    assert!(matches!(shard.see(&key(1), hour, MISMATCH_AGE_MAX), Seen::Missing));
    for number in 10_000..20_000 {
        shard.finish(key(number), true);
    }
    assert_eq!(shard.len(), 64 + 1024);
}
