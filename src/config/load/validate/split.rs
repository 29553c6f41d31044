//! Checks of routes that are split between upstreams: some weight, each upstream once, and one cookie for all.

use std::collections::HashMap;

use super::{Findings, first_with};
use crate::config::load::code::Code;
use crate::config::values::segment::Segment;
use crate::config::{Config, WeightedUpstream};
use crate::path;

/// Checks the upstreams of the route at `base`. Unknown names are reported elsewhere.
pub(super) fn validate(
    config: &Config,
    split: &[WeightedUpstream],
    base: &[Segment],
    findings: &mut Findings<'_>,
) {
    if split.iter().all(|one| one.weight == 0) {
        let message = "the split has no effect: every `weight` is 0";
        findings.add(
            Code::NoEffect,
            base,
            &path!["upstream"],
            message,
            "give one of the upstreams a weight above 0",
        );
    }
    let mut names = HashMap::new();
    for (index, one) in split.iter().enumerate() {
        if first_with(&mut names, one.to.as_str(), index).is_some() {
            let keys = path!["upstream", index, "to"];
            let shown = findings.shown(base, &keys, &one.to);
            let help = "add its weights up";
            findings.add(
                Code::DuplicateName,
                base,
                &keys,
                format!("the upstream `{shown}` appears twice"),
                help,
            );
        }
    }
    validate_sticky(config, split, base, findings);
}

/// Reports a cookie that only some of the upstreams have: their clients would stay, and all others come by and by.
fn validate_sticky(
    config: &Config,
    split: &[WeightedUpstream],
    base: &[Segment],
    findings: &mut Findings<'_>,
) {
    let cookies = split.iter().enumerate().filter_map(|(index, one)| {
        let sticky = config.upstreams.get(&one.to)?.sticky.as_ref();
        Some((index, sticky.map(|sticky| &sticky.cookie)))
    });
    let mut cookies = cookies.collect::<Vec<_>>().into_iter();
    let Some((_, first)) = cookies.next() else { return };
    if let Some((index, _)) = cookies.find(|(_, cookie)| *cookie != first) {
        let message = "the upstreams of a split differ in their `sticky` cookie";
        let help = "give all of them the same `cookie`, or none: it holds clients wherever they went first";
        findings.add(Code::Contradiction, base, &path!["upstream", index, "to"], message, help);
    }
}
