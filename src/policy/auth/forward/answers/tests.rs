use std::borrow::Cow;
use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use http::Uri;
use tokio::sync::Notify;
use tokio::task::{LocalSet, yield_now};

use super::super::answer::Admitted;
use super::*;
use crate::http::message::Response;
use crate::policy::auth::credentials::RequestContext;
use crate::policy::identity::Identity;

const MINUTE: Duration = Duration::from_mins(1);

fn answers(parts: &[&str]) -> Answers {
    let parts = parts.iter().map(|part| part.parse().unwrap()).collect();
    Answers::new(&CacheSettings { admitted: MINUTE, denied: None, parts: Some(parts) }).unwrap()
}

fn admitted(response: &[(&'static str, &'static str)]) -> Answer {
    let identity = Identity { way: "w".into(), subject: "ann".into(), claims: serde_json::Map::new() };
    let response = Fields::written(response);
    Answer::Admitted(Admitted { identity: Arc::new(identity), request: Fields::new(), response })
}

fn denied(status: StatusCode, bytes: usize) -> Answer {
    Answer::Denied(Response { status, headers: Fields::new(), body: Bytes::from(vec![0; bytes]) })
}

fn key(answers: &Answers, target: &str, sent: &[(&'static str, &'static str)]) -> Option<Key> {
    let mut headers = Fields::written(sent);
    let mut target = Cow::Owned(target.parse::<Uri>().unwrap());
    let context = RequestContext::plain();
    let request = Credentials { headers: &mut headers, target: &mut target, certificate: None, context };
    answers.key_of_parts(answers.parts.as_ref().unwrap(), &request)
}

#[test]
fn different_credentials_have_different_keys_and_none_have_none() {
    let answers = answers(&["header:authorization", "cookie:a", "query:t", "path"]);
    let of = |target, sent: &[_]| key(&answers, target, sent);
    let known = [
        of("/", &[("authorization", "x")]),
        of("/", &[("authorization", "y")]),
        of("/", &[("authorization", "x"), ("authorization", "y")]),
        of("/", &[("authorization", "xy")]),
        of("/", &[("cookie", "a=x")]),
        of("/", &[("authorization", "x"), ("cookie", "a=x")]),
        of("/?t=x", &[]),
        of("/?t=x", &[("authorization", "x")]),
        of("/", &[("authorization", "x"), ("host", "h")]),
    ];
    for (index, key) in known.iter().enumerate() {
        assert!(key.is_some(), "{index}");
        assert_eq!(known.iter().position(|other| other == key), Some(index));
    }
    assert_eq!(of("/?u=1", &[("authorization", "x"), ("cookie", "b=1")]), known[0]);
    for sent in [&[][..], &[("cookie", "b=1")], &[("host", "h")]] {
        assert_eq!(of("/", sent), None, "{sent:?}");
    }
}

#[tokio::test]
async fn only_decisions_that_hold_for_others_are_remembered() {
    let mut answers = answers(&["header:authorization"]);
    for (refusals, answer, is_remembered) in [
        (None, admitted(&[]), true),
        (None, admitted(&[("set-cookie", "a=1")]), false),
        (None, denied(StatusCode::FORBIDDEN, 0), false),
        (Some(MINUTE), denied(StatusCode::FORBIDDEN, 0), true),
        (Some(MINUTE), denied(StatusCode::UNAUTHORIZED, 0), true),
        (Some(MINUTE), denied(StatusCode::FOUND, 0), false),
        (Some(MINUTE), denied(StatusCode::NOT_FOUND, 0), false),
    ] {
        answers.denied = refusals;
        answers.shards = Default::default();
        let asked = Cell::new(0);
        let answer = Arc::new(answer);
        for _ in 0..2 {
            let ask = async || {
                asked.set(asked.get() + 1);
                Ok(answer.clone())
            };
            assert_eq!(answers.get([0; 32], MINUTE, ask).await, Ok(answer.clone()));
        }
        assert_eq!(asked.get(), if is_remembered { 1 } else { 2 }, "{answer:?}");
    }
    let failure = Err(Failure::Undecided(500));
    for _ in 0..2 {
        assert_eq!(answers.get([1; 32], MINUTE, async || failure.clone()).await, failure);
    }
    assert!(answers.shard(&[1; 32]).states.is_empty());
}

#[tokio::test]
async fn question_of_a_request_that_is_given_up_is_asked_by_another() {
    let (answers, asked) = (Rc::new(answers(&["header:a"])), Rc::new(Cell::new(0)));
    let proceed = Rc::new(Notify::new());
    let ask = |answers: Rc<Answers>| {
        let (asked, proceed) = (asked.clone(), proceed.clone());
        async move {
            let ask = async || {
                asked.set(asked.get() + 1);
                proceed.notified().await;
                Ok(Arc::new(admitted(&[("set-cookie", "a=1")])))
            };
            answers.get([0; 32], MINUTE, ask).await
        }
    };
    LocalSet::new()
        .run_until(async {
            let tasks: Vec<_> = (0..3).map(|_| tokio::task::spawn_local(ask(answers.clone()))).collect();
            yield_now().await;
            assert_eq!(asked.get(), 1);
            tasks[0].abort();
            for _ in 0..3 {
                yield_now().await;
            }
            assert_eq!(asked.get(), 2);
            proceed.notify_one();
            let mut ended = 0;
            for task in tasks {
                ended += usize::from(task.await.is_ok_and(|outcome| outcome.is_ok()));
            }
            assert_eq!((ended, asked.get()), (2, 2), "also of an answer that is not remembered");
        })
        .await;
    assert!(answers.shard(&[0; 32]).states.is_empty());
}

#[tokio::test(start_paused = true)]
async fn wait_for_the_question_of_another_request_has_its_own_limit() {
    let answers = answers(&["header:a"]);
    let first = answers.get([0; 32], MINUTE, async || std::future::pending().await);
    let second = answers.get([0; 32], Duration::from_secs(1), async || panic!("asked twice"));
    tokio::select! {
        biased;
        _ = first => panic!("answered"),
        outcome = second => assert_eq!(outcome, Err(Failure::Unanswered(Error::RequestTimeout))),
    }
}

#[test]
fn memory_is_bounded_in_number_and_bytes() {
    let mut shard = Shard::default();
    let key = |number: usize| {
        let mut key = Key::default();
        key[..8].copy_from_slice(&number.to_le_bytes());
        key
    };
    for number in 0..3 * ANSWERS_MAX {
        shard.remember(key(number), Arc::new(admitted(&[])), MINUTE);
    }
    assert_eq!((shard.states.len(), shard.order.len()), (ANSWERS_MAX, ANSWERS_MAX));
    assert!(matches!(shard.see(key(0)), Seen::New) && shard.take(&key(0)).is_empty());
    assert!(matches!(shard.see(key(3 * ANSWERS_MAX - 1)), Seen::Known(_)));
    for number in 0..100 {
        shard.remember(key(number), Arc::new(denied(StatusCode::FORBIDDEN, 64 << 10)), MINUTE);
        assert!(shard.bytes <= BYTES_MAX);
    }
    assert!(shard.states.len() < 20);
    // An answer that is over makes room by its key as well.
    shard.remember(key(0), Arc::new(admitted(&[])), Duration::ZERO);
    let bytes = shard.bytes;
    assert!(matches!(shard.see(key(0)), Seen::New));
    assert_eq!(shard.bytes, bytes - admitted(&[]).bytes());
}
