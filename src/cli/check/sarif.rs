//! The report as a log of SARIF 2.1.0, the format of code scanning.

use serde_json::{Map, Value, json};

use super::document;
use super::outcome::Outcome;
use crate::config::{Code, ConfigError};

/// Returns a log with one run.
pub(super) fn log(outcome: &Outcome) -> Value {
    let rules = Code::ALL.into_iter().map(|code| {
        json!({
            "id": code.as_str(),
            "shortDescription": { "text": code.meaning() },
            "defaultConfiguration": { "level": code.severity().as_str() },
        })
    });
    let results = document::listed(outcome).map(|finding| result(finding, &outcome.name));
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "gateway",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules.collect::<Vec<_>>(),
            } },
            // Readers that know no other unit count in this one.
            "columnKind": "utf16CodeUnits",
            "invocations": [{ "executionSuccessful": true, "exitCode": i32::from(!outcome.is_good()) }],
            "results": results.collect::<Vec<_>>(),
        }],
    })
}

fn result(finding: &ConfigError, file: &str) -> Value {
    let code = finding.code();
    let text = match finding.advice() {
        Some(advice) => format!("{}; {advice}", finding.message()),
        None => finding.message().to_owned(),
    };
    let mut location = Map::new();
    let uri = uri(finding.place_name().unwrap_or(file));
    location.insert("artifactLocation".to_owned(), json!({ "uri": uri }));
    if let Some(position) = finding.position() {
        let region = json!({
            "startLine": position.line,
            "startColumn": position.utf16_column,
            "endLine": position.line,
            "endColumn": position.utf16_end_column,
        });
        location.insert("region".to_owned(), region);
    }
    json!({
        "ruleId": code.as_str(),
        "ruleIndex": Code::ALL.iter().position(|other| *other == code),
        "level": code.severity().as_str(),
        "message": { "text": text },
        "locations": [{ "physicalLocation": location }],
    })
}

/// Returns the URI of a file: relative for a relative path, so that it is found in another check-out.
fn uri(path: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/!$&'()*+,=@".contains(&byte);
    let mut uri = String::new();
    if path.starts_with('/') {
        uri.push_str("file://");
    }
    for byte in path.strip_prefix("./").unwrap_or(path).bytes() {
        match is_plain(byte) {
            true => uri.push(byte.into()),
            false => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::uri;

    #[test]
    fn uri_is_relative_for_a_relative_path_and_escaped() {
        for (path, expected) in [
            ("gateway.yaml", "gateway.yaml"),
            ("./conf/a b.yaml", "conf/a%20b.yaml"),
            ("../a:b#é.yaml", "../a%3Ab%23%C3%A9.yaml"),
            ("/etc/gateway/gateway.yaml", "file:///etc/gateway/gateway.yaml"),
            ("standard input", "standard%20input"),
        ] {
            assert_eq!(uri(path), expected);
        }
    }
}
