//! Routes that get no request, because others take all of theirs.

use crate::config::{Code, ConfigWarning, Loaded};
use crate::control::compile::snapshot::route_match;
use crate::path;
use crate::router::{Shadowed, shadowed};

/// The number of routes that a message names.
const NAMED_MAX: usize = 3;

pub(super) fn warnings(loaded: &Loaded) -> impl Iterator<Item = ConfigWarning> {
    let listeners: Vec<String> = loaded.config.listeners.iter().map(|listener| listener.name()).collect();
    let number = |name: &str| listeners.iter().position(|listener| listener == name);
    let routes: Vec<_> = loaded.config.routes.iter().map(|route| route_match(route, number)).collect();
    shadowed(&routes, listeners.len()).into_iter().map(|shadowed| warning(loaded, &shadowed))
}

fn warning(loaded: &Loaded, Shadowed { route, by }: &Shadowed) -> ConfigWarning {
    let named = by.iter().take(NAMED_MAX).map(|index| format!("`{}`", loaded.route_name(*index)));
    let mut names: Vec<String> = named.collect();
    let more = by.len() - names.len();
    if more > 0 {
        names.push(format!("{more} more"));
    }
    let last = names.pop().unwrap_or_default();
    let (others, takes) = match &names[..] {
        [] => (last, "takes"),
        names => (format!("{} and {last}", names.join(", ")), "take"),
    };
    let name = loaded.route_name(*route);
    let message = format!("the route `{name}` gets no requests, because {others} {takes} all of them");
    let line = by.first().map(|index| loaded.source.line(&path!["routes", *index])).unwrap_or_default();
    let help = format!("take it out, or narrow the `match` of the route in line {line}");
    loaded.source.warning(Code::UnreachableRoute, &path!["routes", *route], message, &help)
}
