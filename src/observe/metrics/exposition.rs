//! The two forms in which a scraper takes metrics: OpenMetrics, and the text format that Prometheus had before it.

/// The form of a scrape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exposition {
    OpenMetrics,
    /// The text format of Prometheus, version 0.0.4.
    Prometheus,
}

const OPEN_METRICS: &str = "application/openmetrics-text";

impl Exposition {
    /// Returns the form for a client that sends these values of `Accept` (RFC 9110 §12.5.1): the one with the higher weight; of
    /// equal ones OpenMetrics, which has more to tell. A client that names neither gets OpenMetrics, except for browsers: they would save
    /// it in place of showing it.
    pub(crate) fn accepted<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut open, mut text) = (0.0, 0.0);
        for range in values.into_iter().flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default().to_ascii_lowercase();
            let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse().ok());
            let weight: f64 = weight.unwrap_or(0.0);
            if name == OPEN_METRICS {
                open = weight.max(open);
            } else if name.starts_with("text/") {
                text = weight.max(text);
            }
        }
        if text > open { Self::Prometheus } else { Self::OpenMetrics }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Turns OpenMetrics into the text format of Prometheus: a counter's family is named as its samples, `_total` included, and there are
/// neither exemplars nor an end mark.
pub(super) fn to_prometheus(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        let mut put = |line: &str| {
            text.push_str(line);
            text.push('\n');
        };
        if let Some(rest) = line.strip_prefix("# HELP ") {
            // The type, which follows, decides the name.
            help = rest.split_once(' ');
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
            let total = if kind == "counter" { "_total" } else { "" };
            if let Some((_, help)) = help.take() {
                put(&format!("# HELP {name}{total} {help}"));
            }
            put(&format!("# TYPE {name}{total} {kind}"));
        } else if !line.starts_with('#') {
            put(without_exemplar(line));
        }
    }
    text
}

/// Returns a sample without the exemplar behind it. Values of labels may have the same characters, so it begins behind the braces of the
/// labels.
fn without_exemplar(line: &str) -> &str {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b'#' if !is_quoted => return line.get(..at).unwrap_or(line).trim_end(),
            _ => {}
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn higher_weight_decides_and_a_browser_gets_text() {
        use Exposition::{OpenMetrics, Prometheus};
        for (accept, expected) in [
            (&[][..], OpenMetrics),
            (&["*/*"], OpenMetrics),
            (&["application/openmetrics-text"], OpenMetrics),
            (&["text/plain"], Prometheus),
            (
                &["text/plain;version=0.0.4;q=0.5, application/openmetrics-text;version=1.0.0;q=0.6"],
                OpenMetrics,
            ),
            (&["text/plain;version=0.0.4", "application/openmetrics-text;q=0.6"], Prometheus),
            (&["application/openmetrics-text; q=0, text/plain"], Prometheus),
            // As Prometheus 3 and a browser send them.
            (
                &[
                    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
                   text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                ],
                OpenMetrics,
            ),
            (&["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], Prometheus),
        ] {
            assert_eq!(Exposition::accepted(accept.iter().copied()), expected, "{accept:?}");
        }
    }

    #[test]
    fn text_has_the_names_of_samples_and_nothing_that_is_new_in_open_metrics() {
        let open_metrics = "# HELP a Requests.\n# TYPE a counter\n# UNIT a seconds\na_total{r=\"x # {\\\"}\"} 7 # {trace_id=\"1\"} 0.5 1.0\n\
                            # HELP b Now.\n# TYPE b gauge\nb 1\n# HELP c Time.\n# TYPE c histogram\nc_bucket{le=\"0.1\"} 2 # {trace_id=\"2\"} 0.05\n\
                            c_sum 0.1\n# EOF\n";
        let text = "# HELP a_total Requests.\n# TYPE a_total counter\na_total{r=\"x # {\\\"}\"} 7\n# HELP b Now.\n# TYPE b gauge\nb 1\n\
                    # HELP c Time.\n# TYPE c histogram\nc_bucket{le=\"0.1\"} 2\nc_sum 0.1\n";
        assert_eq!(to_prometheus(open_metrics), text);
    }
}
