//! What finding a route costs: it must not depend on how many routes there are.
//!
//! For 10, 1,000 and 10,000 routes of each kind of path, the one that comes last in the file is asked for.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use gateway::http::fields::Fields;
use gateway::http::path::{EncodedSlash, normalise};
use gateway::router::{PathPattern, RequestLine, RouteMatch, Router};
use http::Method;

const ROUTE_COUNTS: [usize; 3] = [10, 1_000, 10_000];

/// A kind of path: its name, the route number `n`, and a request that this route answers. The numbers have
/// five digits, so that the requests are equally long however many routes there are.
type Kind = (&'static str, fn(usize) -> RouteMatch, fn(usize) -> (String, String));

const KINDS: [Kind; 4] = [
    (
        "exact",
        |n| path(PathPattern::Exact(format!("/api/v1/service-{n:05}/items"))),
        |n| (String::new(), format!("/api/v1/service-{n:05}/items")),
    ),
    (
        "prefix",
        |n| path(PathPattern::Prefix(format!("/api/v1/service-{n:05}"))),
        |n| (String::new(), format!("/api/v1/service-{n:05}/items/7")),
    ),
    (
        "template",
        |n| path(PathPattern::Template(format!("/api/service-{n:05}/{{id}}/orders/{{order}}"))),
        |n| (String::new(), format!("/api/service-{n:05}/42/orders/7")),
    ),
    (
        "host",
        |n| RouteMatch {
            host: Some(format!("service-{n:05}.example.com")),
            ..path(PathPattern::Prefix("/".to_owned()))
        },
        |n| (format!("service-{n:05}.example.com"), "/api/v1/items".to_owned()),
    ),
];

fn path(path: PathPattern) -> RouteMatch {
    RouteMatch { path, ..RouteMatch::default() }
}

fn find(criterion: &mut Criterion) {
    let headers = Fields::new();
    for (kind, route, request) in KINDS {
        let mut group = criterion.benchmark_group(format!("find/{kind}"));
        for count in ROUTE_COUNTS {
            let Ok(router) = Router::build((0..count).map(|n| (route(n), n)).collect()) else { return };
            let last = count - 1;
            let (host, path) = request(last);
            let line = RequestLine {
                listener: 0,
                host: &host,
                path: &path,
                query: None,
                method: &Method::GET,
                headers: &headers,
            };
            assert_eq!(router.find(&line).map(|found| *found.value), Some(last), "{kind}");
            group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
                bencher.iter(|| router.find(black_box(&line)).map(|found| *found.value));
            });
        }
        group.finish();
    }
}

fn normalise_path(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("normalise");
    for path in ["/api/v1/users/42/orders/7", "/api/v1/../v2/caf%c3%a9/%7Euser"] {
        group.bench_function(path.replace('/', "_"), |bencher| {
            bencher.iter(|| normalise(black_box(path), EncodedSlash::Keep).is_ok())
        });
    }
    group.finish();
}

criterion_group!(benches, find, normalise_path);
criterion_main!(benches);
