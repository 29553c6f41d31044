//! Checks of the access log: keys without an effect, and fields that appear twice.

use std::collections::HashMap;

use super::{Findings, first_with};
use crate::config::load::code::Code;
use crate::config::values::segment::Segment;
use crate::config::{AccessLog, Config, LogOutput, OrOff};
use crate::path;

pub(super) fn validate(config: &Config, findings: &mut Findings<'_>) {
    let OrOff::On(log) = &config.telemetry.access_log else { return };
    let base = path!["telemetry", "access_log"];
    validate_fields(log, &base, findings);
    if log.rotate.is_some() && !matches!(log.output, LogOutput::File(_)) {
        let message = "`rotate` has no effect unless `output` is a file";
        findings.add(Code::NoEffect, &base, &path!["rotate"], message, "name the file, or take it out");
    }
    if log.syslog.is_some() && !matches!(log.output, LogOutput::Syslog(_)) {
        let message = "`syslog` has no effect unless `output` is a receiver of syslog";
        let help = "write `output: syslog+udp://HOST:514`, or take it out";
        findings.add(Code::NoEffect, &base, &path!["syslog"], message, help);
    }
}

fn validate_fields(log: &AccessLog, base: &[Segment], findings: &mut Findings<'_>) {
    let Some(fields) = &log.fields else { return };
    if !log.format.has_fields() {
        let message = format!("`fields` has no effect: the format `{}` has fixed fields", log.format.name());
        let help = "write `format: json` or `format: text`";
        findings.add(Code::NoEffect, base, &path!["fields"], message, help);
    }
    let mut firsts = HashMap::new();
    for (index, field) in fields.iter().enumerate() {
        if first_with(&mut firsts, field, index).is_some() {
            let shown = findings.shown(base, &path!["fields", index], field);
            let message = format!("the field `{shown}` appears twice");
            findings.add(Code::DuplicateName, base, &path!["fields", index], message, "take one of them out");
        }
    }
}
