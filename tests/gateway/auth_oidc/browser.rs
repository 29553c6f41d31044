//! A browser: it follows redirects, keeps cookies, and fills in forms.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use support::{Client, Response};

/// The most redirects that it follows.
const REDIRECTS_MAX: usize = 20;

/// A browser with its cookies. It reaches the hosts that it knows, and addresses.
#[derive(Clone, Default)]
pub(super) struct Browser {
    hosts: BTreeMap<String, SocketAddr>,
    cookies: Vec<Cookie>,
}

#[derive(Clone, Debug)]
struct Cookie {
    host: String,
    name: String,
    value: String,
    path: String,
    is_secure: bool,
}

/// A page, and its place.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) url: String,
    pub(super) response: Response,
}

impl Browser {
    /// Creates a browser that reaches `host`, by `http` and by `https`, at an address. The latter comes as through a proxy.
    pub(super) fn new(host: &str, address: SocketAddr) -> Self {
        Self { hosts: [(host.to_owned(), address)].into(), cookies: Vec::new() }
    }

    /// Navigates to a URL, and on to where redirects lead.
    pub(super) async fn go(&mut self, url: &str) -> Page {
        self.follow("GET", url, "").await
    }

    /// Navigates to a URL, and no further.
    pub(super) async fn visit(&mut self, url: &str) -> Response {
        self.request("GET", url, &[("accept", "text/html"), ("sec-fetch-mode", "navigate")], "").await
    }

    /// Submits the first form of a page, with the values of its hidden fields and these.
    pub(super) async fn submit(&mut self, page: &Page, values: &[(&str, &str)]) -> Page {
        let html = page.response.text();
        let form = html.split("<form").nth(1).unwrap_or_else(|| panic!("no form in {html}"));
        let form = form.split("</form>").next().unwrap();
        let action = resolve(&page.url, attribute(form, "action").expect("an action"));
        let hidden = form.split("<input").skip(1).filter(|input| attribute(input, "type") == Some("hidden"));
        let hidden = hidden.filter_map(|input| Some((attribute(input, "name")?, attribute(input, "value")?)));
        let pairs: Vec<String> =
            hidden.chain(values.iter().copied()).map(|(name, value)| format!("{name}={value}")).collect();
        self.follow("POST", &action, &pairs.join("&")).await
    }

    async fn follow(&mut self, method: &str, url: &str, body: &str) -> Page {
        let form = ("content-type", "application/x-www-form-urlencoded");
        let fields = [("accept", "text/html"), ("sec-fetch-mode", "navigate"), form];
        let (mut url, mut response) = (url.to_owned(), self.request(method, url, &fields, body).await);
        for _ in 0..REDIRECTS_MAX {
            let Some(location) = response.header("location") else { return Page { url, response } };
            url = resolve(&url, location);
            response = self.visit(&url).await;
        }
        panic!("too many redirects, the last one to {url}")
    }

    /// Sends a request with the cookies of its place, and takes those of the response.
    pub(super) async fn request(
        &mut self,
        method: &str,
        url: &str,
        fields: &[(&str, &str)],
        body: &str,
    ) -> Response {
        let (scheme, host, path) = parts(url);
        let cookies = self.cookies_for(scheme, host, path);
        let mut fields = fields.to_vec();
        fields.push(("host", host));
        if !cookies.is_empty() {
            fields.push(("cookie", &cookies));
        }
        if scheme == "https" {
            fields.push(("x-forwarded-proto", "https"));
        }
        let address = self.hosts.get(host).copied().unwrap_or_else(|| host.parse().expect("a known host"));
        let mut client = Client::connect(address).await;
        let response = client.request(method, path, &fields, body.as_bytes()).await;
        for line in response.headers.all("set-cookie") {
            self.take(scheme, host, line);
        }
        response
    }

    /// The cookies that go to a place, as one field.
    pub(super) fn cookies_for(&self, scheme: &str, host: &str, path: &str) -> String {
        let path = path.split('?').next().unwrap();
        let is_sent = |cookie: &&Cookie| {
            let is_below =
                path == cookie.path || path.starts_with(&format!("{}/", cookie.path.trim_end_matches('/')));
            cookie.host == host && is_below && (!cookie.is_secure || scheme == "https")
        };
        let pairs =
            self.cookies.iter().filter(is_sent).map(|cookie| format!("{}={}", cookie.name, cookie.value));
        pairs.collect::<Vec<_>>().join("; ")
    }

    /// The names of the cookies of a host.
    pub(super) fn names(&self, host: &str) -> Vec<&str> {
        self.cookies.iter().filter(|cookie| cookie.host == host).map(|cookie| &*cookie.name).collect()
    }

    /// Changes the value of each cookie of a host that `change` returns another one for.
    pub(super) fn change(&mut self, host: &str, change: impl Fn(&str, &str) -> Option<String>) {
        for cookie in self.cookies.iter_mut().filter(|cookie| cookie.host == host) {
            if let Some(value) = change(&cookie.name, &cookie.value) {
                cookie.value = value;
            }
        }
    }

    /// Sets a cookie of a host.
    pub(super) fn set(&mut self, host: &str, name: &str, value: &str) {
        let (host, name, value) = (host.to_owned(), name.to_owned(), value.to_owned());
        self.cookies.push(Cookie { host, name, value, path: "/".to_owned(), is_secure: false });
    }

    fn take(&mut self, scheme: &str, host: &str, line: &str) {
        let (pair, attributes) = line.split_once(';').unwrap_or((line, ""));
        let (name, value) = pair.split_once('=').expect("a name and a value");
        let attributes: Vec<(String, &str)> = attributes
            .split(';')
            .map(|attribute| attribute.trim().split_once('=').unwrap_or((attribute.trim(), "")))
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .collect();
        let of = |wanted: &str| attributes.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value);
        let is_secure = of("secure").is_some();
        if is_secure && scheme != "https" {
            return;
        }
        assert!(line.len() <= 4096, "a browser keeps no cookie of {} bytes", line.len());
        if name.starts_with("__Host-") {
            assert!(is_secure && of("path") == Some("/") && of("domain").is_none(), "{line}");
        }
        let path = of("path").unwrap_or("/").to_owned();
        self.cookies.retain(|cookie| !(cookie.host == host && cookie.name == name && cookie.path == path));
        let is_over = of("max-age") == Some("0") || of("expires").is_some_and(|date| date.contains(" 1970 "));
        if !is_over {
            let (host, name, value) = (host.to_owned(), name.to_owned(), value.to_owned());
            self.cookies.push(Cookie { host, name, value, path, is_secure });
        }
    }
}

/// The scheme, the host with its port, and the path with its query.
fn parts(url: &str) -> (&str, &str, &str) {
    let (scheme, rest) = url.split_once("://").unwrap_or_else(|| panic!("{url} is no URL"));
    let slash = rest.find('/').unwrap_or_else(|| panic!("{url} has no path"));
    let (host, path) = rest.split_at(slash);
    (scheme, host, path)
}

/// The URL that a link on a page leads to.
fn resolve(base: &str, link: &str) -> String {
    let (scheme, host, _) = parts(base);
    match link {
        _ if link.contains("://") => link.to_owned(),
        _ if link.starts_with("//") => format!("{scheme}:{link}/"),
        _ if link.starts_with('/') => format!("{scheme}://{host}{link}"),
        _ => panic!("{link} on {base}"),
    }
}

fn attribute<'h>(tag: &'h str, name: &str) -> Option<&'h str> {
    tag.split_once(&format!(" {name}=\""))?.1.split('"').next()
}
