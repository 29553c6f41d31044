//! Checks of policies: settings that contradict each other.

use super::Findings;
use crate::config::load::salvage::Kept;
use crate::config::values::segment::Segment;
use crate::config::{Config, Cors, OrOff, OriginPattern};
use crate::path;

pub(super) fn validate(config: &Config, kept: &Kept, findings: &mut Findings<'_>) {
    if let Some(OrOff::On(cors)) = &config.defaults.cors {
        validate_cors(cors, &path!["defaults", "cors"], findings);
    }
    for (&index, route) in kept.routes.iter().zip(&config.routes) {
        if let Some(OrOff::On(cors)) = &route.cors {
            validate_cors(cors, &path!["routes", index, "cors"], findings);
        }
    }
}

/// Reports credentials for any origin: each page on the web could act in the name of whoever looks at it.
fn validate_cors(cors: &Cors, base: &[Segment], findings: &mut Findings<'_>) {
    let Some(any) = cors.origins.iter().position(|origin| *origin == OriginPattern::Any) else { return };
    if cors.credentials {
        let message = "the origin `*` excludes `credentials`: any page could act in its visitor's name";
        let help = "list the origins that may, or take `credentials` out";
        findings.add(base, &path!["origins", any], message, help);
    }
}
