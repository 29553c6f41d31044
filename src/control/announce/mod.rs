//! The routes that are printed at the start, each as the `curl` command that requests it.
//!
//! The values of variables may be secret, and the lines may end up in a log. They show what is written in the file.

mod request;
mod word;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use self::request::{IsRouted, Request, SAMPLES, Value};
use self::word::Word;
pub(crate) use self::word::quoted;
use crate::config::{Loaded, Protocol, Route, Segment, SocketAddress, UpstreamChoice};
use crate::path;

/// The number of routes that are listed one by one.
const LISTED: usize = 20;

/// The widest command that others are padded to.
const COLUMN_MAX: usize = 56;

/// Prints a line for each route: a shell command, followed by the route's name and the source of its response as a
/// comment. `listeners` has the router's number and the address of each listener, in the order of the file. `is_routed`
/// queries the router.
pub(crate) fn routes(
    loaded: &Loaded,
    listeners: &[(usize, SocketAddress)],
    is_routed: &IsRouted<'_>,
    announce: &mut impl FnMut(&str),
) {
    let config = &loaded.config;
    let routes = config.routes.iter().enumerate().take(LISTED);
    let listed: Vec<Listed> =
        routes.map(|(index, route)| Listed { loaded, is_routed, index, route }).collect();
    let lines: Vec<(Option<String>, String)> =
        listed.iter().map(|route| (route.command(listeners), route.comment())).collect();
    let widths = lines.iter().filter_map(|(command, _)| Some(command.as_ref()?.chars().count()));
    let column = widths.filter(|width| *width <= COLUMN_MAX).max().unwrap_or(0);
    for (route, (command, comment)) in listed.iter().zip(lines) {
        match (command, &route.route.name) {
            (Some(command), _) => announce(&format!("{command:column$}  # {comment}")),
            (None, Some(_)) => announce(&format!("# {comment} for {}", route.matches())),
            (None, None) => announce(&format!("# {comment}")),
        }
    }
    if let Some(more) = config.routes.len().checked_sub(LISTED).filter(|more| *more > 0) {
        announce(&format!("# and {more} more routes"));
    }
}

/// A route with its position in the file.
struct Listed<'a> {
    loaded: &'a Loaded,
    is_routed: &'a IsRouted<'a>,
    index: usize,
    route: &'a Route,
}

impl Listed<'_> {
    /// Returns a command whose request this route gets, if there is one: more specific routes may match all samples.
    fn command(&self, listeners: &[(usize, SocketAddress)]) -> Option<String> {
        let config = &self.loaded.config;
        let served = self.route.listeners.as_ref();
        let mut known = config.listeners.iter().zip(listeners);
        let (listener, (number, address)) =
            known.find(|(listener, _)| served.is_none_or(|names| names.contains(&listener.name())))?;
        let address = match address {
            SocketAddress::Inet(address) => SocketAddress::Inet(reachable(*address)),
            SocketAddress::Unix(socket) => SocketAddress::Unix(socket.clone()),
        };
        let host = match address.inet().map(|inet| inet.ip()) {
            Some(IpAddr::V4(ip)) => ip.to_string(),
            Some(IpAddr::V6(ip)) => format!("[{ip}]"),
            None => "localhost".to_owned(),
        };
        let requests =
            SAMPLES.iter().filter_map(|sample| Request::new(self.loaded, self.index, self.route, sample));
        let name = self.route.name();
        let is_routed = |request: &Request| request.is_routed(self.is_routed, &name, *number, &host);
        let request = requests.into_iter().find(|request| is_routed(request) == Some(true))?;
        let is_h2_only = listener.protocols == [Protocol::H2];
        Some(command(&request, &address, listener.tls.is_some(), is_h2_only))
    }

    /// Returns the route's name and the source of its response.
    fn comment(&self) -> String {
        format!("{}: {}", self.loaded.route_name(self.index), self.answer())
    }

    /// Returns a value of the route as the file has it: as a variable, if it is written as one.
    fn shown(&self, keys: &[Segment], value: &str) -> String {
        self.loaded.source.shown(&[&path!["routes", self.index], keys].concat(), value)
    }

    fn matches(&self) -> String {
        self.route.in_short(&|keys, value| self.shown(keys, &value))
    }

    /// Returns the source of the response, and the upstream that requests are mirrored to.
    fn answer(&self) -> String {
        let (config, source) = (&self.loaded.config, &self.loaded.source);
        let Some(mirror) = config.mirror_of(self.route) else { return self.source() };
        let urls = source.urls(&path!["upstreams", &mirror.to]).join(", ");
        let place = match &self.route.mirror {
            Some(_) => path!["routes", self.index, "mirror", "percent"].to_vec(),
            None => path!["defaults", "mirror", "percent"].to_vec(),
        };
        let percent = source.shown(&place, &mirror.percent.to_string());
        format!("{}; {percent} % mirrored to {urls}", self.source())
    }

    fn source(&self) -> String {
        let Route { upstream, redirect, respond, .. } = self.route;
        let source = &self.loaded.source;
        match (upstream, redirect) {
            (Some(UpstreamChoice::Named(name)), _) => source.urls(&path!["upstreams", name]).join(", "),
            (Some(UpstreamChoice::Inline(_)), _) => {
                source.urls(&path!["routes", self.index, "upstream"]).join(", ")
            }
            (Some(UpstreamChoice::Split(shares)), _) => {
                let shares = shares.iter().enumerate().map(|(index, share)| {
                    let urls = source.urls(&path!["upstreams", &share.to]).join(", ");
                    let weight = self.shown(&path!["upstream", index, "weight"], &share.weight.to_string());
                    format!("{weight} to {urls}")
                });
                shares.collect::<Vec<_>>().join("; ")
            }
            (None, Some(redirect)) => {
                let shown = |keys: &[Segment], value: String| {
                    self.shown(&[&path!["redirect"], keys].concat(), &value)
                };
                format!("redirect to {}", redirect.in_short(&shown))
            }
            (None, None) => match respond.as_ref().and_then(|respond| respond.delay) {
                Some(delay) => {
                    let delay = self.shown(&path!["respond", "delay"], &delay.to_string());
                    format!("fixed response after {delay}")
                }
                None => "fixed response".to_owned(),
            },
        }
    }
}

/// Returns the address at which a listener can be reached from this machine.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Returns the command that sends a request. It shows the head, which has `x-gateway-error`.
fn command(request: &Request, address: &SocketAddress, is_tls: bool, is_h2_only: bool) -> String {
    let Request { method, host, headers, target } = request;
    let mut words = vec!["curl".to_owned()];
    match method.real.as_str() {
        "GET" => words.push("-i".to_owned()),
        "HEAD" => words.push("-I".to_owned()),
        _ => words.extend(["-i".to_owned(), "-X".to_owned(), method.shown.quoted()]),
    }
    if is_tls {
        // A certificate rarely names the address, and never one of loopback.
        words.push("-k".to_owned());
    } else if is_h2_only {
        words.push("--http2-prior-knowledge".to_owned());
    }
    let mut url = Word::literal(if is_tls { "https://" } else { "http://" });
    if let SocketAddress::Unix(socket) = address {
        let (option, name) = match socket.abstract_name() {
            Some(name) => ("--abstract-unix-socket", name.to_owned()),
            None => ("--unix-socket", socket.path().display().to_string()),
        };
        words.extend([option.to_owned(), Word::literal(&name).quoted()]);
    }
    match (host, address) {
        (Some(host), SocketAddress::Unix(_)) => url.append(host.shown.clone()),
        (None, SocketAddress::Unix(_)) => url.push("localhost"),
        (Some(host), SocketAddress::Inet(address)) if is_tls => {
            // The name is also the server name of the handshake.
            let (port, mut resolve) = (address.port(), host.shown.clone());
            resolve.push(&format!(":{port}:{}", address.ip()));
            words.extend(["--resolve".to_owned(), resolve.quoted()]);
            url.append(host.shown.clone());
            url.push(&format!(":{port}"));
        }
        (Some(host), SocketAddress::Inet(address)) => {
            words.extend(header("Host", host));
            url.push(&address.to_string());
        }
        (None, SocketAddress::Inet(address)) => url.push(&address.to_string()),
    }
    words.extend(headers.iter().flat_map(|(name, value)| header(name, value)));
    url.append(target.shown.clone());
    words.push(url.quoted());
    words.join(" ")
}

fn header(name: &str, value: &Value) -> [String; 2] {
    let mut field = Word::literal(&format!("{name}: "));
    field.append(value.shown.clone());
    ["-H".to_owned(), field.quoted()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::compile::snapshot::route_match;
    use crate::router::{RequestLine, Router};

    /// Returns the lines for routes of two listeners, `web` and `tls`.
    fn lines(routes: &str) -> Vec<String> {
        let text = format!(
            "listeners:
  - {{ name: web, address: 0.0.0.0:8080 }}
  - {{ name: tls, address: '[::]:8443', tls: {{ certificates: [{{ cert: a, key: a }}] }} }}
  - {{ name: h2, address: 127.0.0.1:81, protocols: [h2] }}
  - {{ name: unix, address: unix:/run/a.sock }}
  - {{ name: abstract, address: 'unix:@a', protocols: [h2] }}
  - {{ name: unix-tls, address: unix:/run/it's.sock, tls: {{ certificates: [{{ cert: a, key: a }}] }} }}
routes:
{routes}"
        );
        let variable = |name: &str| match name {
            "KEY" => Some("hunter2".into()),
            "METHOD" => Some("PURGE".into()),
            "SPACES" => Some("hunter2 & co".into()),
            "PARAMETER" => Some("{hunter2}".into()),
            _ => None,
        };
        let loaded = crate::config::parse_with(&text, "gateway.yaml", "".as_ref(), &variable).unwrap();
        let config = &loaded.config;
        let numbered = config.listeners.iter().enumerate();
        let addresses: Vec<_> =
            numbered.map(|(number, listener)| (number, listener.socket_address())).collect();
        let number = |name: &str| config.listeners.iter().position(|listener| listener.name() == name);
        let matches = config.routes.iter().map(|route| (route_match(route, number), route.name()));
        let router = Router::build(matches.collect());
        let is_routed = |request: &RequestLine<'_>, name: &str| {
            router.find(request).is_some_and(|found| found.value == name)
        };
        let mut lines = Vec::new();
        super::routes(&loaded, &addresses, &is_routed, &mut |line| lines.push(line.to_owned()));
        lines
    }

    #[test]
    fn wildcard_addresses_are_asked_on_loopback() {
        for (listening, asked) in [
            ("0.0.0.0:9901", "127.0.0.1:9901"),
            ("[::]:9901", "[::1]:9901"),
            ("10.0.0.1:9901", "10.0.0.1:9901"),
        ] {
            assert_eq!(reachable(listening.parse().unwrap()), asked.parse().unwrap());
        }
    }

    #[test]
    fn command_asks_for_what_the_match_wants() {
        for (route, command) in [
            ("respond: {}", "curl -i http://127.0.0.1:8080/"),
            ("match: { path: /a }, respond: {}", "curl -i http://127.0.0.1:8080/a"),
            ("match: { prefix: /api/ }, respond: {}", "curl -i http://127.0.0.1:8080/api/"),
            ("match: { template: '/u/{id}/x' }, respond: {}", "curl -i http://127.0.0.1:8080/u/1/x"),
            (
                "match: { path: \"/it's%7C%5B1%5D\" }, respond: {}",
                "curl -i 'http://127.0.0.1:8080/it'\\''s%7C%5B1%5D'",
            ),
            ("match: { methods: [POST, PUT] }, respond: {}", "curl -i -X POST http://127.0.0.1:8080/"),
            ("match: { methods: [POST, GET] }, respond: {}", "curl -i http://127.0.0.1:8080/"),
            ("match: { methods: [HEAD] }, respond: {}", "curl -I http://127.0.0.1:8080/"),
            ("match: { host: a.test }, respond: {}", "curl -i -H 'Host: a.test' http://127.0.0.1:8080/"),
            (
                "match: { host: '*.a.test' }, respond: {}",
                "curl -i -H 'Host: www.a.test' http://127.0.0.1:8080/",
            ),
            (
                "match: { host: a.test }, listeners: [tls], respond: {}",
                "curl -i -k --resolve a.test:8443:::1 https://a.test:8443/",
            ),
            ("listeners: [tls], respond: {}", "curl -i -k 'https://[::1]:8443/'"),
            ("listeners: [h2], respond: {}", "curl -i --http2-prior-knowledge http://127.0.0.1:81/"),
            ("listeners: [unix], respond: {}", "curl -i --unix-socket /run/a.sock http://localhost/"),
            (
                "match: { host: a.test }, listeners: [unix], respond: {}",
                "curl -i --unix-socket /run/a.sock http://a.test/",
            ),
            (
                "listeners: [abstract], respond: {}",
                "curl -i --http2-prior-knowledge --abstract-unix-socket a http://localhost/",
            ),
            (
                "match: { host: a.test }, listeners: [unix-tls], respond: {}",
                "curl -i -k --unix-socket '/run/it'\\''s.sock' https://a.test/",
            ),
            (
                "match: { headers: { x-a: present, x-b: b c } }, respond: {}",
                "curl -i -H 'x-a: 1' -H 'x-b: b c' http://127.0.0.1:8080/",
            ),
            (
                "match: { query: { a: present, b: c&d } }, respond: {}",
                "curl -i 'http://127.0.0.1:8080/?a=1&b=c%26d'",
            ),
        ] {
            let lines = lines(&format!("  - {{ {route} }}"));
            let (shown, _) = lines[0].split_once("  # ").unwrap();
            assert_eq!(shown, command, "{route}");
        }
    }

    #[test]
    fn lines_show_variables_and_not_their_values() {
        for (route, expected) in [
            (
                "match: { headers: { x-key: 'a \"${KEY}\"' }, query: { k: '${KEY}' } }, name: n, respond: {}",
                "curl -i -H \"x-key: a \\\"${KEY}\\\"\" \"http://127.0.0.1:8080/?k=${KEY}\"  # n: fixed response",
            ),
            (
                "match: { path: '/hook/${KEY}/$x' }, respond: {}",
                "curl -i \"http://127.0.0.1:8080/hook/${KEY}/\\$x\"  # /hook/${KEY}/$x: fixed response",
            ),
            (
                "match: { prefix: '/${KEY}/', host: '*.${KEY}.test', methods: ['${METHOD}'] }, respond: {}",
                "curl -i -X \"${METHOD}\" -H \"Host: www.${KEY}.test\" \"http://127.0.0.1:8080/${KEY}/\"  \
                 # ${METHOD} *.${KEY}.test/${KEY}/*: fixed response",
            ),
            (
                "match: { template: '/{id}/${KEY}/{b}' }, name: 'n-${KEY}', respond: {}",
                "curl -i \"http://127.0.0.1:8080/1/${KEY}/1\"  # n-${KEY}: fixed response",
            ),
            (
                "match: { host: '${KEY}' }, listeners: [tls], respond: {}",
                "curl -i -k --resolve \"${KEY}:8443:::1\" \"https://${KEY}:8443/\"  # ${KEY}/* on tls: fixed response",
            ),
            (
                "name: n, upstream: { endpoints: ['http://${KEY}:81/${KEY}', 'http://b'] }",
                "curl -i http://127.0.0.1:8080/  # n: http://${KEY}:81/${KEY}, http://b",
            ),
            (
                "name: n, upstream: [{ to: secret, weight: 9 }, { to: secret2, weight: 1 }]",
                "curl -i http://127.0.0.1:8080/  # n: 9 to http://a/${KEY}; 1 to http://b",
            ),
            (
                "name: n, upstream: secret2, mirror: { to: secret, percent: 5 }",
                "curl -i http://127.0.0.1:8080/  # n: http://b; 5 % mirrored to http://a/${KEY}",
            ),
            ("name: n, upstream: secret", "curl -i http://127.0.0.1:8080/  # n: http://a/${KEY}"),
            (
                "name: n, redirect: { to: 'https://a/${KEY}' }",
                "curl -i http://127.0.0.1:8080/  # n: redirect to https://a/${KEY}",
            ),
            (
                "name: n, redirect: { host: '${KEY}' }",
                "curl -i http://127.0.0.1:8080/  # n: redirect to host ${KEY}",
            ),
            // A shell would put the value into the URL as it is.
            ("match: { query: { k: '${SPACES}' } }, name: n, respond: {}", "# n: fixed response for /* ?k"),
            ("match: { template: '/${PARAMETER}' }, respond: {}", "# /${PARAMETER}: fixed response"),
        ] {
            let lines = lines(&format!(
                "  - {{ {route} }}\nupstreams:
  secret: {{ url: 'http://a/${{KEY}}' }}
  secret2: {{ url: 'http://b' }}"
            ));
            assert_eq!(lines, [expected], "{route}");
        }
    }

    #[test]
    fn equal_names_of_routes_have_a_number_and_no_values() {
        let lines = lines(
            "
  - { match: { path: '/${KEY}', headers: { a: '1' } }, respond: {} }
  - { match: { path: '/${KEY}', headers: { a: '2' } }, respond: {} }",
        );
        assert!(lines[1].ends_with("  # /${KEY} a: (2): fixed response"), "{lines:?}");
        assert!(!lines.concat().contains("hunter2"), "{lines:?}");
    }

    #[test]
    fn command_reaches_the_route_of_its_comment_or_is_not_printed() {
        for (routes, expected) in [
            (["match: { path: / }", "match: { prefix: / }"], [Some("/"), Some("/x")]),
            (["match: { path: / }", "match: {}"], [Some("/"), Some("/x")]),
            (["match: { template: '/u/{id}' }", "match: { path: /u/1 }"], [Some("/u/x"), Some("/u/1")]),
            (["match: { prefix: /a }", "match: { path: /a }"], [Some("/a/x"), Some("/a")]),
            (["match: { prefix: /a/ }", "match: { path: /a/ }"], [Some("/a/x"), Some("/a/")]),
            (["match: { path: /a }", "match: { path: /a, methods: [GET] }"], [None, Some("/a")]),
            (["match: { path: /b }", "match: { path: /b }"], [Some("/b"), None]),
            (
                ["match: { path: /c }", "match: { path: /c, headers: { accept: present } }"],
                [None, Some("/c")],
            ),
            (["match: { path: /d }", "match: { path: /d }, listeners: [h2]"], [Some("/d"), Some("/d")]),
        ] {
            let [first, second] = routes;
            let lines = lines(&format!(
                "  - {{ name: first, {first}, respond: {{}} }}\n  - {{ name: second, {second}, respond: {{}} }}"
            ));
            for ((line, path), name) in lines.iter().zip(expected).zip(["first", "second"]) {
                let (command, comment) = line.split_once("# ").unwrap();
                assert!(comment.starts_with(&format!("{name}: fixed response")), "{line}");
                let has_path = |path: &str| {
                    command.trim_end().ends_with(&format!(":8080{path}"))
                        || command.trim_end().ends_with(&format!(":81{path}"))
                };
                assert!(path.map_or(command.is_empty(), has_path), "{routes:?}: {line}");
            }
        }
    }

    #[test]
    fn comment_of_a_command_names_the_route_and_what_answers() {
        let routes = "
  - { name: a, match: { path: /a }, upstream: { endpoints: ['http://a', 'http://b:81'] } }
  - { name: bc, match: { path: /bc }, redirect: { to: /c, status: 307 } }
  - { name: d, match: { path: /d }, respond: { delay: 2s } }
  - { match: { path: /e }, respond: {} }";
        assert_eq!(
            lines(routes),
            [
                "curl -i http://127.0.0.1:8080/a   # a: http://a, http://b:81",
                "curl -i http://127.0.0.1:8080/bc  # bc: redirect to /c",
                "curl -i http://127.0.0.1:8080/d   # d: fixed response after 2s",
                "curl -i http://127.0.0.1:8080/e   # /e: fixed response",
            ]
        );
    }

    #[test]
    fn routes_beyond_a_screen_are_a_number() {
        let routes: String = (0..23).map(|n| format!("  - {{ name: r{n}, respond: {{}} }}\n")).collect();
        let lines = lines(&routes);
        assert_eq!((lines.len(), lines[LISTED].as_str()), (LISTED + 1, "# and 3 more routes"));
    }
}
