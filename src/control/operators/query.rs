//! The pools that a query names.

use std::borrow::Cow;

use crate::observe::metrics::PoolReport;

/// The names in a query, of which all must match.
pub(super) struct PoolQuery<'q> {
    pool: Option<Cow<'q, str>>,
    endpoint: Option<Cow<'q, str>>,
    address: Option<Cow<'q, str>>,
}

impl<'q> PoolQuery<'q> {
    pub(super) fn parse(query: &'q str) -> Self {
        let find = |name: &str| {
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            pairs.find(|(key, _)| key == name).map(|(_, value)| value)
        };
        Self { pool: find("pool"), endpoint: find("endpoint"), address: find("address") }
    }

    /// Returns true if the query names nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.pool.is_none() && self.endpoint.is_none() && self.address.is_none()
    }

    /// Returns true if the query names this pool.
    pub(super) fn names(&self, pool: &PoolReport) -> bool {
        let matches =
            |asked: &Option<Cow<'_, str>>, name: &str| asked.as_deref().is_none_or(|asked| asked == name);
        matches(&self.pool, &pool.pool)
            && matches(&self.endpoint, &pool.endpoint)
            && matches(&self.address, &pool.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_names_the_pools_that_match_all_its_parts() {
        let report = |pool: &str, address: &str| PoolReport {
            pool: pool.to_owned(),
            endpoint: "http://users:80".to_owned(),
            address: address.to_owned(),
            ..PoolReport::default()
        };
        let (one, other) = (report("users", "10.0.0.1:80"), report("users", "10.0.0.2:80"));
        for (query, matches) in [
            ("pool=users", [true, true]),
            ("pool=users&address=10.0.0.2%3A80", [false, true]),
            ("endpoint=http%3A%2F%2Fusers:80&x=1", [true, true]),
            ("pool=orders", [false, false]),
            ("pool=", [false, false]),
        ] {
            let query = PoolQuery::parse(query);
            assert!(!query.is_empty());
            assert_eq!([query.names(&one), query.names(&other)], matches);
        }
        assert!(PoolQuery::parse("x=1").is_empty());
    }
}
