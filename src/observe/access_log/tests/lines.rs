//! The lines of each format, and which requests have one.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::config::OwnField;
use crate::observe::traces::TraceContext;

const DOCS: &str = include_str!("../../../../docs/logs.md");

/// An entry with a value for each field.
fn complete() -> Entry<'static> {
    let trace = TraceContext::parse(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
    Entry {
        grpc_status: Some(0),
        connect: Some(Duration::from_millis(1)),
        error: Some("timeouts.idle"),
        referer: Some(b"http://a/"),
        auth: Some("staff"),
        identity: Some("jane doe"),
        request_id: Some(b"7f"),
        trace_id: Some(trace.trace_id),
        span_id: Some(trace.span_id),
        ..answered_from_upstream()
    }
}

#[test]
fn every_field_is_documented_with_whether_it_is_there_by_default() {
    for field in OwnField::ALL {
        let row = DOCS.lines().find(|row| {
            row.starts_with("| `") && row.split('|').nth(1).unwrap().contains(&format!("`{}`", field.name()))
        });
        let row = row.unwrap_or_else(|| panic!("`{}` is not documented", field.name()));
        assert_eq!(row.split('|').nth(2).unwrap().trim() == "yes", field.is_default(), "{row}");
    }
    let object: Json = serde_json::from_str(&line("{}", &complete())).unwrap();
    let names: Vec<&str> =
        OwnField::ALL.iter().filter(|field| field.is_default()).map(|field| field.name()).collect();
    let mut expected = names;
    expected.sort();
    let mut found: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
    found.sort();
    assert_eq!(found, expected);
    assert_eq!(object["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(object["span_id"], "b7ad6b7169203331");
}

#[test]
fn the_default_list_of_masked_parameters_is_documented() {
    let (_, list) = DOCS.split_once("The list replaces the default one: ").unwrap();
    let list: Vec<&str> =
        list.split(" |").next().unwrap().split(", ").map(|name| name.trim_matches('`')).collect();
    let defaults = config::AccessLog::default().mask.query;
    assert_eq!(list, defaults.iter().map(config::ParameterName::as_str).collect::<Vec<_>>());
}

#[test]
fn json_lines_are_these() {
    assert_eq!(
        line("{}", &answered_from_upstream()),
        concat!(
            r#"{"time":"2026-11-22T20:48:43.000042Z","client":"127.0.0.1","listener":"web","method":"GET","#,
            r#""target":"/spike?v=2","version":"HTTP/1.1","host":"localhost:8080","status":200,"#,
            r#""route":"spike","endpoint":"127.0.0.1:3000","reused":true,"attempts":1,"request_bytes":0,"#,
            r#""response_bytes":1024,"acquire_ms":0.012,"first_byte_ms":1.200,"total_ms":61000.001,"#,
            r#""user_agent":"curl/8"}"#,
        )
    );
    assert_eq!(
        line("{}", &forged()),
        concat!(
            r#"{"time":"2026-11-22T20:48:43.000042Z","client":"127.0.0.1","listener":"web","method":"GET","#,
            r#""target":"/\" 200 1\n\\\u001b[2J�","version":"HTTP/1.1","status":0,"attempts":0,"#,
            r#""request_bytes":0,"response_bytes":0,"total_ms":61000.001,"error":"request.target","#,
            r#""user_agent":"é\r\n"}"#,
        )
    );
}

#[test]
fn text_lines_are_these() {
    assert_eq!(
        line("{ format: text }", &answered_from_upstream()),
        concat!(
            r#"time=2026-11-22T20:48:43.000042Z client=127.0.0.1 listener=web method=GET target="/spike?v=2" "#,
            r#"version=HTTP/1.1 host=localhost:8080 status=200 route=spike endpoint=127.0.0.1:3000 reused=true "#,
            r#"attempts=1 request_bytes=0 response_bytes=1024 acquire_ms=0.012 first_byte_ms=1.200 "#,
            r#"total_ms=61000.001 user_agent=curl/8"#,
        )
    );
    assert_eq!(
        line("{ format: text, fields: [target, status, error, user_agent] }", &forged()),
        r#"target="/\" 200 1\n\\\u001b[2J�" status=0 error=request.target user_agent="é\r\n""#
    );
}

#[test]
fn common_and_combined_lines_are_those_of_apache_and_nginx() {
    let common = r#"127.0.0.1 - - [22/Nov/2026:20:48:43 +0000] "GET /spike?v=2 HTTP/1.1" 200 1024"#;
    assert_eq!(line("{ format: common }", &answered_from_upstream()), common);
    let combined = "{ format: combined }";
    assert_eq!(line(combined, &answered_from_upstream()), format!(r#"{common} "-" "curl/8""#));
    assert_eq!(
        line(combined, &forged()),
        concat!(
            r#"127.0.0.1 - - [22/Nov/2026:20:48:43 +0000] "GET /\x22 200 1\x0A\x5C\x1B[2J\xFF HTTP/1.1" 000 0 "#,
            r#""-" "\xC3\xA9\x0D\x0A""#,
        )
    );
    assert_eq!(
        line(combined, &Entry { client: None, ..complete() }),
        concat!(
            r#"unix: - jane\x20doe [22/Nov/2026:20:48:43 +0000] "GET /spike?v=2 HTTP/1.1" 200 1024 "#,
            r#""http://a/" "curl/8""#,
        )
    );
}

#[test]
fn chosen_fields_are_in_their_order_and_only_they_are_kept() {
    let yaml = "{ fields: [status, header.x-a, response.header.X-B, identity.org.team, query.v, query.w, unix_time, path, header.x-c] }";
    let (log, _receiver) = log_to_channel(yaml);
    let capture = Capture {
        request: vec!["x-a".parse().unwrap(), "x-c".parse().unwrap()],
        response: vec!["x-b".parse().unwrap()],
        claims: vec!["org.team".into()],
        ..Capture::default()
    };
    assert_eq!(*log.capture(), capture);
    let entry = Entry {
        target: b"/%7e?w=%20+%26&v=1&v=2",
        request_headers: &[Some(HeaderValue::from_static("one")), None],
        response_headers: &[Some(HeaderValue::from_static("two"))],
        claims: &[Some(Cow::Borrowed("blue"))],
        ..answered_from_upstream()
    };
    assert_eq!(
        line(yaml, &entry),
        concat!(
            r#"{"status":200,"header.x-a":"one","response.header.x-b":"two","identity.org.team":"blue","#,
            r#""query.v":"1","query.w":" +&","unix_time":1795380523.000042,"path":"/%7e"}"#,
        )
    );
    assert_eq!(line("{ fields: [route] }", &forged()), "{}");
    let kept = |yaml: &str| log_to_channel(yaml).0.capture().clone();
    assert_eq!(kept("{ format: common }"), Capture::default());
    assert_eq!(
        kept("{ format: combined }"),
        Capture { referer: true, user_agent: true, ..Capture::default() }
    );
    assert_eq!(kept("{}"), Capture { host: true, referer: true, user_agent: true, ..Capture::default() });
}

/// The default fields, as a log that chooses them.
fn default_names() -> String {
    let names = OwnField::ALL.iter().filter(|field| field.is_default()).map(|field| field.name());
    format!("fields: [{}]", names.collect::<Vec<_>>().join(", "))
}

#[test]
fn log_that_chooses_the_default_fields_has_the_lines_of_one_that_chooses_none() {
    let early = Entry { client: None, started: UNIX_EPOCH - Duration::from_secs(1), ..complete() };
    let extreme = Entry {
        status: u16::MAX,
        attempts: u32::MAX,
        response_bytes: u64::MAX,
        total: Duration::MAX,
        ..complete()
    };
    let secret =
        Entry { target: b"/;token=SECRET?token=SECRET", referer: Some(b"/?token=SECRET"), ..complete() };
    for (format, masked) in [("json", r#""user_agent":"***""#), ("text", "user_agent=***")] {
        for entry in
            [complete(), answered_from_upstream(), forged(), early.clone(), extreme.clone(), secret.clone()]
        {
            let with = |more: &str| line(&format!("{{ format: {format}, {more} }}"), &entry);
            assert_eq!(with(""), with(&default_names()));
            let mask = "mask: { headers: [user-agent] }";
            assert!(with(mask).contains(masked), "{}", with(mask));
            assert_eq!(with(mask), with(&format!("{}, {mask}", default_names())));
        }
    }
}

#[test]
fn name_of_any_length_is_whole_wherever_its_field_is() {
    let entry =
        Entry { request_headers: &[Some(HeaderValue::from_static("one"))], ..answered_from_upstream() };
    for length in 15..30 {
        let name = format!("header.{}", "n".repeat(length));
        for (fields, json, text) in [
            (
                format!("{name}, status"),
                format!(r#"{{"{name}":"one","status":200}}"#),
                format!("{name}=one status=200"),
            ),
            (
                format!("status, {name}"),
                format!(r#"{{"status":200,"{name}":"one"}}"#),
                format!("status=200 {name}=one"),
            ),
            (
                format!("route, {name}"),
                format!(r#"{{"route":"spike","{name}":"one"}}"#),
                format!("route=spike {name}=one"),
            ),
        ] {
            assert_eq!(line(&format!("{{ fields: [{fields}] }}"), &entry), json);
            assert_eq!(line(&format!("{{ format: text, fields: [{fields}] }}"), &entry), text);
        }
    }
}

#[test]
fn secrets_are_masked_in_every_place() {
    let secret = "SECRET";
    let headers: Vec<_> = (0..7).map(|_| Some(HeaderValue::from_static("Bearer SECRET"))).collect();
    let url = HeaderValue::from_static("https://a/?b=1&key=SECRET#token=SECRET");
    let entry = Entry {
        target: b"/a;token=SECRET?%74oken=SECRET&b=1&KEY=SECRET",
        referer: Some(b"http://b/?token=SECRET"),
        request_headers: &headers,
        response_headers: &[Some(HeaderValue::from_static("SECRET")), Some(url)],
        ..answered_from_upstream()
    };
    let credentials = ["query:key", "header:x-key"].map(|place| place.parse().unwrap());
    let fields = "fields: [target, path, referer, header.authorization, header.proxy-authorization, header.cookie, \
                  header.x-key, header.x-own, header.set-cookie, response.header.set-cookie, response.header.location, query.key, query.token, query.b]";
    for yaml in [
        format!("{{ {fields}, mask: {{ query: [token], headers: [x-own] }} }}"),
        format!("{{ format: text, {fields}, mask: {{ query: [token], headers: [x-own] }} }}"),
        "{}".to_owned(),
        "{ format: text }".to_owned(),
        "{ format: common }".to_owned(),
        "{ format: combined }".to_owned(),
    ] {
        let (sender, receiver) = sync_channel(1000);
        let program = Program::new(&settings(&yaml), &credentials);
        let sink = Box::new(Stream(Box::new(Channel(sender))));
        let log = AccessLog::to_sink(program, sink, Place::Stream("stdout"), Arc::default()).unwrap();
        log.write(&entry);
        let line = written(&log, &receiver);
        assert!(!line.contains(secret) && line.contains("b=1"), "{line}");
        if yaml.contains("fields") {
            // In the target twice: one value ends at the next `&`. No parameter is called `key`, since these have a case.
            assert_eq!(line.matches("***").count(), 2 + 1 + 1 + 6 + 1 + 2 + 1, "{line}");
        }
    }
    // Without a list nothing but credentials is masked.
    let line = line("{ fields: [target, header.cookie], mask: { query: [] } }", &entry);
    assert!(line.contains("token=SECRET") && line.contains(r#""header.cookie":"***""#), "{line}");
}

#[test]
fn conditions_decide_which_requests_have_a_line() {
    let ok = answered_from_upstream;
    let quick = || Entry { total: Duration::from_millis(1), ..ok() };
    let entries = [
        ("quick", quick()),
        ("slow", ok()),
        ("missing", Entry { status: 404, error: Some("route.none"), ..quick() }),
        ("failed", Entry { status: 503, error: Some("upstream.connect"), ..quick() }),
        ("broken", Entry { error: Some("upstream.body"), ..quick() }),
        ("left", Entry { status: 499, error: Some("client.closed"), ..quick() }),
        ("call", Entry { grpc_status: Some(14), ..quick() }),
        ("refused call", Entry { grpc_status: Some(7), ..quick() }),
    ];
    let failures = ["failed", "broken", "left", "call"];
    let all: Vec<&str> = entries.iter().map(|(name, _)| *name).collect();
    for (yaml, expected) in [
        ("{}", &all[..]),
        ("{ only: errors }", &failures),
        ("{ only: slow>1s }", &["slow"]),
        ("{ only: 'status>=400' }", &["missing", "failed", "left"]),
        ("{ only: [errors, slow>1s] }", &["slow", "failed", "broken", "left", "call"]),
        ("{ sample: 0 }", &failures),
        ("{ sample: 0, only: slow>1s }", &[]),
        ("{ sample: 1.0, only: slow>1s }", &["slow"]),
    ] {
        let kept = entries.iter().filter(|(_, entry)| !line(yaml, entry).is_empty());
        assert_eq!(kept.map(|(name, _)| *name).collect::<Vec<_>>(), expected, "{yaml}");
    }
}

#[test]
fn sample_is_about_the_share_of_the_requests() {
    let program = Program::new(&settings("{ sample: 0.25 }"), &[]);
    let entry = answered_from_upstream();
    let kept = (0..10_000).filter(|_| program.keeps(&entry)).count();
    // Ten standard deviations.
    assert!((2060..=2940).contains(&kept), "{kept}");
}

/// Splits a line of logfmt into its fields.
fn logfmt(line: &str) -> Vec<(String, String)> {
    let (mut fields, mut rest) = (Vec::new(), line);
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').unwrap_or_else(|| panic!("no value: {line:?}"));
        assert!(name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"'), "{name:?} in {line:?}");
        let end = if after.starts_with('"') {
            let mut values = serde_json::Deserializer::from_str(after).into_iter::<String>();
            values.next().unwrap().unwrap();
            values.byte_offset()
        } else {
            after.find(' ').unwrap_or(after.len())
        };
        let (value, next) = after.split_at(end);
        let value =
            if value.starts_with('"') { serde_json::from_str(value).unwrap() } else { value.to_owned() };
        fields.push((name.to_owned(), value));
        rest = next.strip_prefix(' ').unwrap_or(next);
        assert!(rest.is_empty() || next.len() > rest.len(), "no space between fields: {line:?}");
    }
    fields
}

/// Splits a line of the combined format strictly: client, ident, user, time, request, status, size, referer, user agent.
fn combined(line: &str) -> [&str; 9] {
    fn quoted(rest: &str) -> (&str, &str) {
        rest.strip_prefix('"').unwrap().split_once('"').unwrap()
    }
    let word = |rest: &'static str| rest.split_once(' ').unwrap();
    let line: &'static str = line.to_owned().leak();
    let (client, rest) = word(line);
    let (ident, rest) = word(rest);
    let (user, rest) = word(rest);
    let (time, rest) = rest.strip_prefix('[').unwrap().split_once("] ").unwrap();
    let (request, rest) = quoted(rest);
    let (status, rest) = word(rest.strip_prefix(' ').unwrap());
    let (size, rest) = word(rest);
    let (referer, rest) = quoted(rest);
    let (user_agent, rest) = quoted(rest.strip_prefix(' ').unwrap());
    assert_eq!(rest, "");
    [client, ident, user, time, request, status, size, referer, user_agent]
}

/// Undoes the escapes of Apache and nginx.
fn unescaped(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        bytes.push(*byte);
        if let [b'\\', b'x', digits @ ..] = [&[*byte], after].concat().as_slice() {
            *bytes.last_mut().unwrap() =
                u8::from_str_radix(std::str::from_utf8(&digits[..2]).unwrap(), 16).unwrap();
            rest = &after[3..];
        }
    }
    bytes
}

/// Bytes that a peer could send, with many that have a meaning in some format.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        any::<u8>(),
        prop::sample::select(b"\n\r\t \"\\=[]{},:-<>'\x00\x1b\x7f\x85\xc2\xe2\x80\xa8&;?#%".to_vec())
    ];
    prop::collection::vec(byte, 0..60)
}

proptest! {
    #[test]
    fn line_is_one_line_with_its_fields_whatever_a_client_sends(
        target in hostile(), host in hostile(), user_agent in hostile(), referer in hostile(), header in hostile(),
        claim in "\\PC{0,20}", identity in "\\PC{0,20}",
    ) {
        let header = HeaderValue::from_bytes(&header).ok();
        let values = [header.clone()];
        let claims = [Some(Cow::Borrowed(claim.as_str()))];
        let entry = Entry {
            target: &target,
            host: Some(&host),
            user_agent: Some(&user_agent),
            referer: Some(&referer),
            identity: Some(&identity),
            request_headers: &values,
            claims: &claims,
            ..answered_from_upstream()
        };
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let expected = json!({
            "target": lossy(&target), "host": lossy(&host), "user_agent": lossy(&user_agent), "referer": lossy(&referer),
            "header.x-a": header.as_ref().map(|header| lossy(header.as_bytes())), "identity.sub": claim, "status": 200,
        });
        for format in ["json", "text"] {
            let with = |fields: &str| line(&format!("{{ format: {format}, {fields} }}"), &entry);
            prop_assert_eq!(with(""), with(&default_names()));
        }
        let fields = "fields: [target, host, user_agent, referer, header.x-a, identity.sub, status], mask: { query: [] }";
        for (format, head) in [("json", false), ("text", false), ("combined", false), ("json", true), ("text", true), ("combined", true)] {
            let output = if head { "output: 'syslog+udp://127.0.0.1'," } else { "" };
            let chosen = if format == "combined" { "mask: { query: [] }" } else { fields };
            let program = Program::new(&settings(&format!("{{ format: {format}, {output} {chosen} }}")), &[]);
            let mut bytes = Vec::new();
            prop_assert_eq!(program.line(&mut bytes, &mut Default::default(), &entry), program::Written::Whole);
            let text = String::from_utf8(bytes).unwrap();
            let line = text.strip_suffix('\n').unwrap();
            let is_separator = |char: char| char.is_control() || "\u{2028}\u{2029}".contains(char);
            prop_assert!(!line.contains(is_separator), "{line:?}");
            let line = if head { line.splitn(8, ' ').nth(7).unwrap() } else { line };
            match format {
                "json" => {
                    let object: Json = serde_json::from_str(line).unwrap();
                    for (name, value) in expected.as_object().unwrap() {
                        prop_assert_eq!(&object[name], value, "{}", name);
                    }
                }
                "text" => {
                    let fields = logfmt(line);
                    prop_assert_eq!(fields.len(), 6 + usize::from(header.is_some()));
                    for (name, value) in fields {
                        let expected = &expected[&name];
                        let expected = expected.as_str().map_or_else(|| expected.to_string(), str::to_owned);
                        prop_assert_eq!(value, expected, "{}", name);
                    }
                }
                _ => {
                    let [client, ident, user, time, request, status, size, found_referer, found_agent] = combined(line);
                    prop_assert_eq!((client, ident, status, size), ("127.0.0.1", "-", "200", "1024"));
                    prop_assert_eq!(time, "22/Nov/2026:20:48:43 +0000");
                    let user_expected = if identity.is_empty() { "-" } else { &identity };
                    prop_assert_eq!(unescaped(user), user_expected.as_bytes());
                    prop_assert_eq!(unescaped(request), [b"GET ", &target[..], b" HTTP/1.1"].concat());
                    prop_assert_eq!((unescaped(found_referer), unescaped(found_agent)), (referer.clone(), user_agent.clone()));
                }
            }
        }
    }

    #[test]
    fn line_for_a_datagram_is_cut_and_stays_one_of_its_format(
        target in prop::collection::vec(any::<u8>(), 0..20_000), user_agent in prop::collection::vec(any::<u8>(), 0..20_000),
    ) {
        let entry = Entry { target: &target, user_agent: Some(&user_agent), ..answered_from_upstream() };
        for format in ["json", "text", "combined"] {
            let program = Program::new(&settings(&format!("{{ format: {format}, output: 'syslog+unix:///dev/log' }}")), &[]);
            let mut bytes = b"earlier\n".to_vec();
            let written = program.line(&mut bytes, &mut Default::default(), &entry);
            let text = String::from_utf8(bytes).unwrap();
            let text = text.strip_prefix("earlier\n").unwrap();
            prop_assert!(text.len() <= 8193 && written != program::Written::TooLong);
            let line = text.trim_end_matches('\n').splitn(8, ' ').nth(7).unwrap();
            match format {
                "json" => drop(serde_json::from_str::<Json>(line).unwrap()),
                "text" => drop(logfmt(line)),
                _ => drop(combined(line)),
            }
        }
    }
}
