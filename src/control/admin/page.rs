//! The page for people: the files that a browser shows it from. They are part of the program, need no other server, and contain no data;
//! those come from the API.

use http::HeaderValue;
use http::header::{
    CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};

use super::answer::Answer;

/// A file of the page.
pub(super) struct File {
    path: &'static str,
    content_type: &'static str,
    content: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Declares files by their names in `page/`.
macro_rules! files {
    ($($type:ident $name:literal,)*) => {
        [$(File {
            path: concat!("/page/", $name),
            content_type: $type,
            content: include_str!(concat!("page/", $name)),
        }),*]
    };
}

/// The page itself.
const INDEX: [File; 1] = files! { HTML "index.html", };

/// The files that it loads.
static FILES: [File; 12] = files! {
    CSS "style.css",
    SVG "icon.svg",
    SCRIPT "main.js",
    SCRIPT "dom.js",
    SCRIPT "charts.js",
    SCRIPT "table.js",
    SCRIPT "overview.js",
    SCRIPT "routes.js",
    SCRIPT "pools.js",
    SCRIPT "upstreams.js",
    SCRIPT "filters.js",
    SCRIPT "configuration.js",
};

/// The path of the page itself.
pub(super) const PATH: &str = "/";

/// The rules for what the page may load: itself, and nothing else. Markup in a name of a route would do nothing, even if a mistake let it
/// in.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const FIELDS: [(HeaderName, &str); 4] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
];

/// Returns the page itself.
pub(super) fn index() -> Answer {
    let [index] = &INDEX;
    index.answer()
}

/// Returns the file at a path that the page loads.
pub(super) fn find(path: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.path == path)
}

impl File {
    pub(super) fn answer(&self) -> Answer {
        let fields = FIELDS.map(|(name, value)| (name, HeaderValue::from_static(value)));
        Answer { fields: fields.into(), ..Answer::ok(self.content_type, self.content.to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_is_made_of_its_own_files() {
        for file in FILES.iter().chain(&INDEX) {
            let imports = file.content.split("from \"./").skip(1).filter_map(|rest| rest.split('"').next());
            imports
                .for_each(|name| assert!(find(&format!("/page/{name}")).is_some(), "{}: {name}", file.path));
            // The policy refuses what is written in place, and what other servers have.
            assert!(!file.content.contains("innerHTML"), "{}", file.path);
            let urls = file.content.matches("//").count() - file.content.matches("// ").count();
            assert!(urls == file.content.matches("http://www.w3.org/2000/svg").count(), "{}", file.path);
        }
        let index = INDEX[0].content;
        assert!(!index.contains("<style") && !index.contains("style=") && !index.contains("onclick"));
        for part in index.split('"').filter(|part| part.starts_with("/page/")) {
            assert!(find(part).is_some(), "{part}");
        }
    }
}
